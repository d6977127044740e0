"""The plugin's own methods, under the names they are registered with."""

from __future__ import annotations

from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.bickd import BicKD
from mdistiller_icc.distillers.catkd import CATKD
from mdistiller_icc.distillers.ckd import CKD
from mdistiller_icc.distillers.crld import CRLD
from mdistiller_icc.distillers.ctkd import CTKD
from mdistiller_icc.distillers.dist import DIST
from mdistiller_icc.distillers.dtkd import DTKD
from mdistiller_icc.distillers.gdkd import GDKD
from mdistiller_icc.distillers.icckd import ICCKD
from mdistiller_icc.distillers.kdpp import KDPlusPlus
from mdistiller_icc.distillers.mlkd import MLKD
from mdistiller_icc.distillers.nkd import NKD
from mdistiller_icc.distillers.normkd import NormKD
from mdistiller_icc.distillers.pckd import PCKD
from mdistiller_icc.distillers.rld import RLD
from mdistiller_icc.distillers.sdd import SDD
from mdistiller_icc.distillers.simkd import SimKD
from mdistiller_icc.distillers.ttm import TTM, WTTM
from mdistiller_icc.distillers.wkd import WKD

distiller_dict: dict[str, type[Distiller]] = {
    "ICCKD": ICCKD,
    "CKD": CKD,
    "BICKD": BicKD,
    "PCKD": PCKD,
    "DIST": DIST,
    "CTKD": CTKD,
    "MLKD": MLKD,
    "TTM": TTM,
    "WTTM": WTTM,
    "NKD": NKD,
    "RLD": RLD,
    "SDD": SDD,
    "CRLD": CRLD,
    "DTKD": DTKD,
    "GDKD": GDKD,
    "NORMKD": NormKD,
    "SIMKD": SimKD,
    "CATKD": CATKD,
    "WKD": WKD,
    "KDPP": KDPlusPlus,
}
