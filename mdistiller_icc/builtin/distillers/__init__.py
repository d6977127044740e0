"""The methods of the built-in host, under mdistiller's registry names."""

from __future__ import annotations

from mdistiller_icc.builtin.distillers.at import AT
from mdistiller_icc.builtin.distillers.crd import CRD
from mdistiller_icc.builtin.distillers.dkd import DKD
from mdistiller_icc.builtin.distillers.fitnet import FitNet
from mdistiller_icc.builtin.distillers.kd import KD
from mdistiller_icc.builtin.distillers.kdsvd import KDSVD
from mdistiller_icc.builtin.distillers.nst import NST
from mdistiller_icc.builtin.distillers.ofd import OFD
from mdistiller_icc.builtin.distillers.pkt import PKT
from mdistiller_icc.builtin.distillers.reviewkd import ReviewKD
from mdistiller_icc.builtin.distillers.rkd import RKD
from mdistiller_icc.builtin.distillers.sp import SP
from mdistiller_icc.builtin.distillers.vanilla import Vanilla
from mdistiller_icc.builtin.distillers.vid import VID
from mdistiller_icc.distillers.base import Distiller

distiller_dict: dict[str, type[Distiller]] = {
    "NONE": Vanilla,
    "KD": KD,
    "AT": AT,
    "OFD": OFD,
    "RKD": RKD,
    "FITNET": FitNet,
    "KDSVD": KDSVD,
    "CRD": CRD,
    "NST": NST,
    "PKT": PKT,
    "SP": SP,
    "VID": VID,
    "REVIEWKD": ReviewKD,
    "DKD": DKD,
}
