"""The plugin's own methods, under the names they are registered with."""

from __future__ import annotations

from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.bickd import BicKD
from mdistiller_icc.distillers.ckd import CKD
from mdistiller_icc.distillers.icckd import ICCKD
from mdistiller_icc.distillers.pckd import PCKD

distiller_dict: dict[str, type[Distiller]] = {"ICCKD": ICCKD, "CKD": CKD, "BICKD": BicKD, "PCKD": PCKD}
