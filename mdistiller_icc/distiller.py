"""Another name of `mdistiller_icc.distillers.base`, for distillers written for version 0.1.0."""

from mdistiller_icc.distillers.base import Distiller, Features

__all__ = ["Distiller", "Features"]
