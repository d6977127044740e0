"""WKD on logits: what it costs to move the student's prediction to the teacher's, between classes that are alike."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.classifier import centers, classifier_name
from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.gather import gather_rows
from mdistiller_icc.losses.nkd import target_loss
from mdistiller_icc.losses.wkd import class_cost, linear_cka, wkd_loss
from mdistiller_icc.settings import Setting, check_memory, count, temperature, weight


class WKD(LogitDistiller):
    """``L = CE − mean p_t[y] log p_s[y] + w · transport``, the method's logit form, WKD-L.

    Lv, Yang & Li, NeurIPS 2024, arXiv:2412.08139, and the authors' released code [A]. w and T differ per pair;
    the defaults are those of resnet32x4 → resnet8x4. Two classes are alike by the CKA of what the teacher makes of
    their training images, of which the authors take all and we the first ``IMAGES`` [R]: its last maps for CIFAR, its
    logits for ImageNet. Or, as theirs may be, by the cosine of their rows in the teacher's classifier; that is also
    what it is where a trainer does not show its loader.

    Raises:
        UserError: a class has no training image, or the maps do not fit into memory.
    """

    node = "WKD"
    settings = {
        "CE_WEIGHT": weight(1.0, "cross-entropy"),
        "WEIGHT": weight(600.0, "the transport, w"),
        "TEMPERATURE": temperature(8.0),
        "COST": Setting(
            "features",
            "What two classes are alike by: the teacher's last maps, its logits, or its classifier's rows.",
            choices=("features", "logits", "classifier"),
        ),
        "IMAGES": count(100, "Images of each class whose maps or logits are looked at.", most=10**5),
        "KAPPA": Setting(1.0, "How fast the cost rises as classes differ, κ.", least=0, most=1e3),
        "REGULARISATION": Setting(0.05, "Regularisation of the entropic transport.", least=1e-2, most=1e3),
        "ITERATIONS": count(10, "Steps of Sinkhorn's iteration.", most=1000),
        "DECAY_FROM": count(150, "Epoch from which w falls to 0 along a cosine, until the last.", 0, 10**6),
    }

    def __init__(self, student: nn.Module, teacher: nn.Module, cfg: CfgNode) -> None:
        super().__init__(student, teacher, cfg)
        rows = F.normalize(centers(teacher, classifier_name(teacher, "teacher")).detach(), dim=1)
        self.cost: Tensor
        self.register_buffer("cost", class_cost(rows @ rows.T, self.own.KAPPA), persistent=False)
        self.classes = len(rows)
        self.last_epoch = cfg.get("SOLVER", {}).get("EPOCHS", 0)
        self.length_counts_after = self.own.DECAY_FROM
        self.settled = None if self.own.DECAY_FROM < self.last_epoch else 1

    def attach(self, train_loader: Any) -> None:
        """Look at what the teacher makes of the first images of every class."""
        if self.own.COST != "classifier":
            self.cost = class_cost(linear_cka(self._made(train_loader)), self.own.KAPPA)

    def _made(self, train_loader: Any) -> Tensor:
        """Maps, position by position, or logits of as many images of every class, (C, N, D)."""
        device, wanted = self.cost.device, self.own.IMAGES
        found: list[list[Tensor]] = [[] for _ in range(self.classes)]
        for image, target, *_ in train_loader:
            logits, features = self.teach(image.to(device))
            if self.own.COST == "logits":
                made = logits[:, :, None]
            else:  # a network that returns logits alone has been given a pooled feature
                made = features["feats"][-1].flatten(2) if "feats" in features else features["pooled_feat"][:, :, None]
            check_memory("WKD.IMAGES", wanted, self.classes * wanted * made[0].nbytes)
            made, target = gather_rows(made.transpose(1, 2), target.to(device))
            for one, label in zip(made, target.tolist(), strict=True):
                if len(found[label]) < wanted:
                    found[label].append(one.clone())
            if min(map(len, found)) == wanted:
                break
        count = min(map(len, found))
        if count == 0:
            missing = [label for label, made in enumerate(found) if not made]
            raise UserError(f"WKD: there is no training image of class {missing[0]}; WKD.COST classifier needs none")
        return torch.stack([torch.cat(made[:count]) for made in found])

    def logit_loss(self, logits_student: Tensor, logits_teacher: Tensor, target: Tensor, epoch: int) -> Tensor:
        own = self.own
        moved = wkd_loss(
            logits_student, logits_teacher, target, self.cost, own.TEMPERATURE, own.REGULARISATION, own.ITERATIONS
        )
        weight: float = own.WEIGHT * fall(epoch, own.DECAY_FROM, self.last_epoch)
        return target_loss(logits_student, logits_teacher, target) + weight * moved


def fall(epoch: int, start: int, end: int) -> float:
    """A factor that is 1 until ``start`` and falls to 0 at ``end`` along a cosine; 1 throughout if that comes first.

    >>> [round(fall(epoch, 2, 4), 3) for epoch in (1, 2, 3, 4)]
    [1.0, 1.0, 0.5, 0.0]
    """
    if epoch <= start or end <= start:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (epoch - start) / (end - start)))
