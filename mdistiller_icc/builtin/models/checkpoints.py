"""Where mdistiller's released teachers lie once downloaded: ``$MDISTILLER_ICC_DOWNLOADS``, or ``download_ckpts``."""

from __future__ import annotations

import os

from mdistiller_icc.paths import expand


def cifar_teacher(architecture: str) -> str:
    """The path of a released CIFAR-100 teacher."""
    return _downloaded("cifar_teachers", architecture, "ckpt_epoch_240.pth")


def tiny_imagenet_teacher(architecture: str, file: str) -> str:
    """The path of a released Tiny-ImageNet teacher."""
    return _downloaded("tiny_imagenet_teachers", architecture, file)


def _downloaded(collection: str, architecture: str, file: str) -> str:
    # A relative path is taken from the working folder, like the output and the teacher store.
    downloads = expand(os.environ.get("MDISTILLER_ICC_DOWNLOADS", "download_ckpts"), "MDISTILLER_ICC_DOWNLOADS")
    return os.path.join(downloads, collection, f"{architecture}_vanilla", file)
