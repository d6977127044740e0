"""Where the second views of ICC's images are drawn: our loaders, or torch's `DataLoader`."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader


class ViewLoader(Protocol):
    """What ICC needs of a loader of training images; ours have it."""

    num_data: int
    """How many training images there are."""

    def views(self, index: Tensor, rows: slice = ...) -> Tensor:
        """A fresh augmented view of the images ``index`` (V,), as a batch has them, (V, 3, H, W).

        Of ``rows`` of them alone, but the same views, where other processes take the others.
        """


class ItemViews:
    """The same of torch's `DataLoader`, whose data set is asked image by image, as its own workers do."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.dataset = loader.dataset
        self.num_data = len(cast(Sized, loader.dataset))

    def views(self, index: Tensor, rows: slice = slice(None)) -> Tensor:
        """The views that `ViewLoader.views` speaks of."""
        return torch.stack([self.dataset[i][0] for i in index[rows].tolist()]).to(index.device)
