"""Class-stratified choices of images that depend on the labels alone, never on a run's seed."""

from __future__ import annotations

import numpy as np

ORDER_SEED = 20_210_215


def _rank_within_class(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A fixed random rank of every image among its class's images, and the size of its class."""
    order = np.random.default_rng(ORDER_SEED).permutation(len(labels))
    grouped = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(labels), dtype=np.int64)
    rank[grouped] = np.arange(len(labels)) - starts[labels[grouped]]
    return rank, sizes[labels]


def take_fraction(labels: np.ndarray, fraction: float) -> np.ndarray:
    """Rows (ascending) of a class-stratified ``fraction`` of the images, at least one of every class.

    Fractions are nested: the images of 0.1 are among those of 0.2.
    """
    if fraction >= 1.0:
        return np.arange(len(labels))
    rank, size = _rank_within_class(labels)
    return np.flatnonzero(rank < np.maximum(np.rint(size * fraction), 1))


def take_share(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Split the images into (kept, set aside), both ascending rows, ``share`` of every class set aside.

    A class keeps at least one image and, where it has two or more, at least one is set aside.
    """
    if share <= 0.0:
        return np.arange(len(labels)), np.arange(0)
    rank, size = _rank_within_class(labels)
    aside = np.minimum(np.maximum(np.rint(size * share), 1), size - 1)
    chosen = rank >= size - aside
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
