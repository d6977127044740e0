"""Classification networks of timm and torchvision, by name: ``timm/convnext_tiny``, ``torchvision/vit_b_16``."""

from __future__ import annotations

from .network import Weights, ZooNetwork, admit, of_zoo

__all__ = ["Weights", "ZooNetwork", "admit", "of_zoo"]
