"""How well a linear classifier does on a frozen network's features of images that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError

INVERSE_PENALTY = 1.0
"""scikit-learn's C, its default [R]."""
MOST_ITERATIONS = 1000


class Seen(NamedTuple):
    """A split as a network sees it: pooled features (N, D) and labels (N,)."""

    features: np.ndarray
    labels: np.ndarray


@torch.no_grad()
def seen(network: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> Seen:
    """The pooled features of every image, each computed once; batch norms use the statistics that they have.

    Args:
        network: in eval mode, on the device.
        loader: of images that are not augmented.

    Raises:
        UserError: the network has no pooled features.
    """
    features, labels = [], []
    for image, target in loader:
        returned = network(image.to(device))[1]
        if "pooled_feat" not in returned:
            raise UserError(f"{type(network).__name__} returns no 'pooled_feat', which a linear probe is on")
        features.append(returned["pooled_feat"].flatten(1).cpu().double().numpy())
        labels.append(target.cpu().numpy())
    return Seen(np.concatenate(features), np.concatenate(labels))


def top1(train: Seen, test: Seen) -> float:
    """Test accuracy, in percent, of multinomial logistic regression on standardised features.

    CRD (Tian et al., ICLR 2020) trains a linear classifier on the layer before the logits of a frozen network, on
    STL-10 and Tiny-ImageNet at 32×32. How it is trained we choose [R]: by L-BFGS to convergence, with the L2 penalty
    that scikit-learn has by default, on images that are not augmented.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=MOST_ITERATIONS))
    classifier.fit(train.features, train.labels)
    return 100 * float(classifier.score(test.features, test.labels))
