"""Another name of `mdistiller_icc.distillers.base`."""

from mdistiller_icc.distillers.base import Distiller as Distiller
from mdistiller_icc.distillers.base import Features as Features
