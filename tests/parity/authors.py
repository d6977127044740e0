"""The newer methods' losses and gradients against those of their authors' released code, as a table.

    python tests/parity/authors.py --root FOLDER

Below FOLDER is a clone of each repository in `REPOSITORIES`; those that are not there are left out. Of a file of theirs
the functions and classes are run, not its imports, so that nothing of a repository needs to be installed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import math
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as Node
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdistiller_icc.distillers.simkd import projector
from mdistiller_icc.losses.catkd import catkd_loss
from mdistiller_icc.losses.crld import crld_loss
from mdistiller_icc.losses.ctkd import curriculum, curriculum_temperature
from mdistiller_icc.losses.dist import dist_loss
from mdistiller_icc.losses.dkd import dkd_loss
from mdistiller_icc.losses.dtkd import dtkd_loss
from mdistiller_icc.losses.fitnet import hint_loss
from mdistiller_icc.losses.gdkd import gdkd_loss
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.mlkd import batch_alignment_loss, class_alignment_loss, instance_alignment_loss, selection
from mdistiller_icc.losses.nd import nd_loss
from mdistiller_icc.losses.nkd import nkd_loss, target_loss
from mdistiller_icc.losses.normkd import normkd_loss
from mdistiller_icc.losses.rld import rld_loss
from mdistiller_icc.losses.sdd import cells, sdd_loss
from mdistiller_icc.losses.standardise import standardise
from mdistiller_icc.losses.ttm import ttm_loss
from mdistiller_icc.losses.wkd import class_cost, linear_cka, wkd_loss

REPOSITORIES = {
    "logit-standardization-KD": "sunshangquan", "Multi-Level-Logit-Distillation": "Jin-Ying", "RLD": "zju-SWJ",
    "image_classification_sota": "hunto", "CTKD": "zhengli97", "TTM": "zkxufo", "DeepKD": "haiduo",
    "SDD-CVPR2024": "shicaiwei123", "cls_KD": "yzd-v", "NormKD": "gizi1", "GDKD": "ZaberKo", "DTKD": "JinYu1998",
    "WKD": "JiamingLv", "CAT-KD": "GzyAftermath", "Knowledge-Distillation-via-ND": "WangYZ1608", "SimKD": "DefangChen",
}  # fmt: skip
"""Whose each is on GitHub."""
SEEDS = range(5)
BATCH, CLASSES = 64, 100
ZOO = "mdistiller/distillers"


class Theirs(nn.Module):
    """What their distillers inherit from: a student and a teacher."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher


class Given(nn.Module):
    """A network whose images are the numbers of the logits that it returns."""

    def __init__(self, *logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, view: int) -> tuple[Tensor, None]:
        return self.logits[view], None


def code(path: Path, **names: Any) -> Node:
    """The functions, classes and constants of a file."""
    kept = ast.FunctionDef | ast.ClassDef
    tree = ast.parse(path.read_text())
    constants = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    tree.body = [node for node in tree.body if isinstance(node, kept) or node in constants]
    registry = Node(register_module=lambda: lambda kind: kind)
    space = {
        "torch": torch, "nn": nn, "F": F, "np": np, "math": math, "Distiller": Theirs, "MODELS": registry,
        "Function": torch.autograd.Function, **names,
    }  # fmt: skip
    exec(compile(tree, str(path), "exec"), space)
    return Node(**space)


def logits(seed: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """A student's and a teacher's of two views, and the target, of which the teacher is wrong on four images."""
    numbers = torch.Generator().manual_seed(seed)

    def random(scale: float) -> Tensor:
        return scale * torch.randn(BATCH, CLASSES, generator=numbers, dtype=torch.float64)

    target = torch.randint(CLASSES, (BATCH,), generator=numbers)
    teacher = random(2.0)
    teacher[torch.arange(BATCH), target] += 6
    teacher[:4, 7] += 12
    student, teacher2 = teacher / 2 + random(1.5), teacher + random(1.0)
    student2 = teacher2 / 2 + random(1.5)
    return *(z.to(dtype) for z in (student, teacher, student2, teacher2)), target


Loss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Pair = tuple[Loss, Loss]
"""Theirs and ours, of what `logits` returns."""


def logit_standardisation(root: Path) -> dict[str, Pair]:
    kd, dkd, mlkd = (code(root / ZOO / f"{name}.py") for name in ("KD", "DKD", "MLKD"))
    norm = standardise
    return {
        "KD+LS": (
            lambda s, t, s2, t2, y: kd.kd_loss(s, t, 2.0, True),
            lambda s, t, s2, t2, y: kd_loss(norm(s), norm(t), 2.0),
        ),
        "DKD+LS": (
            lambda s, t, s2, t2, y: dkd.dkd_loss(s, t, y, 9.0, 72.0, 2.0, True),
            lambda s, t, s2, t2, y: dkd_loss(norm(s), norm(t), y, 9.0, 72.0, 2.0),
        ),
        "MLKD+LS": (two_views(mlkd.MLKD, mlkd_settings(9.0, True)), our_mlkd(norm, 9.0)),
    }


def mlkd_settings(weight: float, standardised: bool) -> Node:
    kd = Node(TEMPERATURE=4.0, LOSS=Node(CE_WEIGHT=0.1, KD_WEIGHT=weight))
    return Node(KD=kd, EXPERIMENT=Node(LOGIT_STAND=standardised))


def two_views(distiller: type, cfg: Node) -> Loss:
    def loss(s: Tensor, t: Tensor, s2: Tensor, t2: Tensor, y: Tensor) -> Tensor:
        made = distiller(Given(s, s2), Given(t, t2), cfg)
        return sum(made.forward_train(image_weak=0, image_strong=1, target=y, epoch=100)[1].values())

    return loss


def our_mlkd(norm: Callable[[Tensor], Tensor] = lambda z: z, weight: float = 0.9, strong: bool = True) -> Loss:
    steps = (4.0, 3.0, 5.0, 2.0, 6.0)

    def loss(s: Tensor, t: Tensor, s2: Tensor, t2: Tensor, y: Tensor) -> Tensor:
        images, classes = selection(t)
        found = instance_alignment_loss(norm(s), norm(t), steps, images)
        found = found + class_alignment_loss(s, t, steps, classes) + batch_alignment_loss(s, t, steps, images)
        ce = F.cross_entropy(s, y)
        if strong:
            found = found + instance_alignment_loss(norm(s2), norm(t2), steps[:3])
            found = found + instance_alignment_loss(norm(s), norm(t), steps[3:])
            ce = ce + F.cross_entropy(s2, y)
        return 0.1 * ce + weight * found

    return loss


def mlld(root: Path) -> dict[str, Pair]:
    return {"MLKD": (two_views(code(root / ZOO / "KD_ours.py").KD_ours, mlkd_settings(0.9, False)), our_mlkd())}


def rld(root: Path) -> dict[str, Pair]:
    theirs, alone = code(root / ZOO / "RLD.py"), code(root / ZOO / "MLKD_NOAUG.py")

    def one_view(s: Tensor, t: Tensor, s2: Tensor, t2: Tensor, y: Tensor) -> Tensor:
        made = alone.MLKD_NOAUG(Given(s), Given(t), mlkd_settings(0.9, False))
        return sum(made.forward_train(image=0, target=y, epoch=100)[1].values())

    return {
        "RLD": (
            lambda s, t, s2, t2, y: theirs.rld_loss(s, t, y, 1.0, 8.0, 4.0, False, 1.0),
            lambda s, t, s2, t2, y: rld_loss(s, t, y, 1.0, 8.0, 4.0, 1.0),
        ),
        "RLD+LS": (
            lambda s, t, s2, t2, y: theirs.rld_loss(s, t, y, 1.0, 8.0, 4.0, True, 1.0),
            lambda s, t, s2, t2, y: rld_loss(standardise(s), standardise(t), y, 1.0, 8.0, 4.0, 1.0),
        ),
        "MLKD, one view": (one_view, our_mlkd(strong=False)),
    }


def dist(root: Path) -> dict[str, Pair]:
    theirs = code(root / "lib/models/losses/dist_kd.py").DIST(2.0, 2.0, 4.0)
    return {
        "DIST": (lambda s, t, s2, t2, y: theirs(s, t), lambda s, t, s2, t2, y: dist_loss(s, t, 4.0, 2.0, 2.0)),
    }


def ctkd(root: Path) -> dict[str, Pair]:
    """θ is the sum of the second view's logits here, times 0, plus 1: so its gradient shows in theirs."""
    learnt, kl = code(root / "models/temp_global.py"), code(root / "distiller_zoo/KD.py").DistillKL()
    ramp = code(root / "train_student.py").CosineDecay(0.0, -1.0, 10.0)

    def theta(s2: Tensor) -> Tensor:
        return (s2 / s2.detach()).mean()

    return {
        "CTKD": (
            lambda s, t, s2, t2, y: kl(
                s, t, 1 + 20 * torch.sigmoid(learnt.GradientReversal()(theta(s2), ramp.get_value(3)))
            ),
            lambda s, t, s2, t2, y: kd_loss(s, t, curriculum_temperature(theta(s2), curriculum(3, 10), 1.0, 20.0)),
        )
    }


def ttm(root: Path) -> dict[str, Pair]:
    plain, weighted = (code(root / f"distiller_zoo/{name}.py") for name in ("ttm", "wttm"))
    return {
        "TTM": (lambda s, t, s2, t2, y: plain.TTM(0.1)(s, t), lambda s, t, s2, t2, y: ttm_loss(s, t, 0.1)),
        "WTTM": (lambda s, t, s2, t2, y: weighted.WTTM(0.2)(s, t), lambda s, t, s2, t2, y: ttm_loss(s, t, 0.2, True)),
    }


def crld(root: Path) -> dict[str, Pair]:
    own = Node(CE_WEIGHT=1.0, WV_WEIGHT=2.0, CV_WEIGHT=0.5, TEMPERATURE=4.0, TAU_W=0.9, TAU_S=0.2)
    deep = Node(ALPHA=1, BETA=1, WARMUP_FACTOR=1, DKD=False, TOPK=1)
    cfg = Node(CRLD=own, EXPERIMENT=Node(LOGIT_STAND=False), SOLVER=Node(TRAINER="base", DEEPKD=deep))

    def ours(s: Tensor, t: Tensor, s2: Tensor, t2: Tensor, y: Tensor) -> Tensor:
        return crld_loss(s, s2, t, t2, 4.0, 2.0, 0.5, 0.9, 0.2) + F.cross_entropy(s, y) + F.cross_entropy(s2, y)

    return {"CRLD (a port)": (two_views(code(root / ZOO / "CRLD.py").CRLD, cfg), ours)}


def sdd(root: Path) -> dict[str, Pair]:
    kd, dkd, nkd = (code(root / ZOO / f"{name}.py", dkd_loss_origin=None) for name in ("KD", "SDD_DKD", "SDD_nkd"))
    pool = code(root / "mdistiller/models/cifar/utils.py")

    def of_cells(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Loss:
        def of_logits(s: Tensor, t: Tensor, s2: Tensor, t2: Tensor, y: Tensor) -> Tensor:
            numbers = torch.Generator().manual_seed(1)

            def parts(whole: Tensor) -> Tensor:
                noise = 3 * torch.randn(*whole.shape, 21, generator=numbers, dtype=torch.float64).to(whole.dtype)
                noise[..., 0] = 0
                return whole[..., None] + noise

            return loss(parts(s), parts(t), y)

        return of_logits

    def ours(each: Callable[..., Tensor]) -> Loss:
        return of_cells(lambda s, t, y: sdd_loss(s, t, y, each))

    found = {
        "SDD, KD": (
            of_cells(lambda s, t, y: 0.9 * kd.sdd_kd_loss(s, t, 4.0, y)),
            ours(lambda s, t, y, w: kd_loss(s, t, 4.0, 0.9 * w)),
        ),
        "SDD, DKD": (
            of_cells(lambda s, t, y: dkd.multi_dkd(s, t, y, 1.0, 8.0, 4.0)),
            ours(lambda s, t, y, w: dkd_loss(s, t, y, 1.0, 8.0, 4.0, w)),
        ),
        "SDD, NKD": (
            of_cells(lambda s, t, y: nkd.multi_nkd_loss(s, t, y, 4.0, 8.0)),
            ours(lambda s, t, y, w: nkd_loss(s, t, y, 8.0, 4.0, w)),
        ),
    }

    def pooled(side: int, pooling: Callable[[Tensor], Tensor]) -> Loss:
        return lambda s, t, s2, t2, y: pooling(maps(s, side)).square().sum()

    for scales in ([1, 2], [1, 2, 4]):
        with contextlib.redirect_stdout(None):
            theirs = pool.SPP(str(scales).replace(" ", ""))
        for side in (8, 7):
            found[f"SDD, cells {scales} of {side}×{side}"] = (
                pooled(side, lambda feature, theirs=theirs: theirs(feature)[0]),
                pooled(side, lambda feature, scales=scales: cells(feature, scales)),
            )
    return found


def maps(logits: Tensor, side: int) -> Tensor:
    """Maps (B, C, side, side) that are different everywhere."""
    rolled = [torch.roll(logits, shift, 1) * (1 + shift / 10) for shift in range(side**2)]
    return torch.stack(rolled, 2).unflatten(2, (side, side))


def nkd(root: Path) -> dict[str, Pair]:
    theirs = code(root / "mmcls/models/dis_losses/nkd.py").NKDLoss("", True, 3.0, 3.5)
    return {"NKD": (lambda s, t, s2, t2, y: theirs(s, t, y), lambda s, t, s2, t2, y: nkd_loss(s, t, y, 3.5, 3.0))}


def normkd(root: Path) -> dict[str, Pair]:
    theirs = code(root / ZOO / "NormKD.py").kd_loss_normal
    return {"NORMKD": (lambda s, t, s2, t2, y: theirs(s, t, 2.0), lambda s, t, s2, t2, y: normkd_loss(s, t, 2.0))}


def gdkd(root: Path) -> dict[str, Pair]:
    theirs = code(root / ZOO / "GDKD.py", kl_div=code(root / ZOO / "utils.py").kl_div).gdkd_loss
    return {
        "GDKD": (
            lambda s, t, s2, t2, y: theirs(s, t, y, 5, "best", 1.0, 2.0, 8.0, 4.0, "forward")[0],
            lambda s, t, s2, t2, y: gdkd_loss(s, t, 5, 1.0, 2.0, 8.0, 4.0),
        )
    }


def dtkd(root: Path) -> dict[str, Pair]:
    kind = code(root / ZOO / "DTKD.py").DTKD
    cfg = Node(DTKD=Node(CE_WEIGHT=1.0, ALPHA=3.0, BETA=1.0, WARMUP=20, T=4.0))
    return {
        "DTKD": (
            lambda s, t, s2, t2, y: kind(Given(s), Given(t), cfg).forward_train(0, y, epoch=100)[1]["loss_dtkd"],
            lambda s, t, s2, t2, y: 3 * dtkd_loss(s, t, 4.0) + kd_loss(s, t, 4.0) + F.cross_entropy(s, y),
        )
    }


def wkd(root: Path) -> dict[str, Pair]:
    """Theirs moves float32 probabilities whatever the logits are."""
    theirs, cost = code(root / ZOO / "WKD.py"), code(root / "tools/generate_cost_matrix.py")
    rows = F.normalize(1 + torch.randn(CLASSES, 64, generator=torch.Generator().manual_seed(5)), dim=1)
    alike = rows @ rows.T
    weights = torch.arange(25.0)

    def features(z: Tensor) -> Tensor:
        return z[:60].reshape(5, 12, CLASSES)[:, :, :64] * torch.linspace(0, 2, 64, dtype=z.dtype)

    def their_cka(s: Tensor, t: Tensor, s2: Tensor, t2: Tensor, y: Tensor) -> Tensor:
        each = features(s)
        return (torch.stack([cost.linear_CKA_precenter(a, b) for a in each for b in each]) * weights.to(s)).sum()

    return {
        "WKD": (
            lambda s, t, s2, t2, y: theirs.wkd_logit_loss_with_speration(
                s, t, y, 8.0, 600.0, 1 - torch.exp(alike - 1), 0.05, 10
            ),
            lambda s, t, s2, t2, y: (
                target_loss(s, t, y) + 600 * wkd_loss(s, t, y, class_cost(alike, 1.0).to(s.dtype), 8.0)
            ),
        ),
        "WKD, CKA": (
            their_cka,
            lambda s, t, s2, t2, y: (linear_cka(features(s)).flatten() * weights.to(s)).sum(),
        ),
    }


def catkd(root: Path) -> dict[str, Pair]:
    theirs = code(root / ZOO / "CAT_KD.py").CAT_loss
    return {
        f"CATKD, r = {side}{', normalised' * norm}": (
            lambda s, t, s2, t2, y, side=side, norm=norm: theirs(maps(s, 8), maps(t, 8), side, norm),
            lambda s, t, s2, t2, y, side=side, norm=norm: catkd_loss(maps(s, 8), maps(t, 8), side, norm),
        )
        for side, norm in ((2, False), (4, True))
    }


def kdpp(root: Path) -> dict[str, Pair]:
    theirs = code(root / "CIFAR/utils.py").DirectNormLoss(CLASSES, 2.0)
    means = 6 * torch.eye(CLASSES) + torch.randn(CLASSES, CLASSES, generator=torch.Generator().manual_seed(3))
    told = {str(label): mean for label, mean in enumerate(means.tolist())}
    return {
        "KDPP, ND": (
            lambda s, t, s2, t2, y: theirs(s, t, told, y),
            lambda s, t, s2, t2, y: 2 * nd_loss(s, t, means.to(s.dtype)[y]),
        )
    }


def simkd(root: Path) -> dict[str, Pair]:
    torch.manual_seed(0)
    kind, widths, head = code(root / "models/util.py").SimKD(s_n=CLASSES, t_n=32, factor=2), (CLASSES, 32, 2), None
    ours, head = projector(*widths), nn.Linear(32, 10)
    ours.load_state_dict(kind.transfer.state_dict())

    def goal(t: Tensor) -> Tensor:
        return maps(t, 4)[:, :32].relu()

    def both(s: Tensor, t: Tensor, s2: Tensor, t2: Tensor, y: Tensor) -> Tensor:
        projected, wanted, decided = kind.to(s.dtype)(maps(s, 8), goal(t), head.to(s.dtype))
        return F.mse_loss(projected, wanted) + F.cross_entropy(decided, y % 10)

    def mine(s: Tensor, t: Tensor, s2: Tensor, t2: Tensor, y: Tensor) -> Tensor:
        projected = ours.to(s.dtype)(F.adaptive_avg_pool2d(maps(s, 8), 4))
        return hint_loss(projected, goal(t)) + F.cross_entropy(head.to(s.dtype)(projected.mean((2, 3))), y % 10)

    return {"SIMKD": (both, mine)}


OF = {
    "logit-standardization-KD": logit_standardisation, "Multi-Level-Logit-Distillation": mlld, "RLD": rld,
    "image_classification_sota": dist, "CTKD": ctkd, "TTM": ttm, "DeepKD": crld, "SDD-CVPR2024": sdd, "cls_KD": nkd,
    "NormKD": normkd, "GDKD": gdkd, "DTKD": dtkd, "WKD": wkd, "CAT-KD": catkd, "Knowledge-Distillation-via-ND": kdpp,
    "SimKD": simkd,
}  # fmt: skip


def difference(pair: Pair, dtype: torch.dtype) -> tuple[float, float]:
    """The largest of losses and of entries of gradients, relative to the loss and to the largest entry."""
    torch.set_default_dtype(dtype)
    losses, gradients = [0.0], [0.0]
    for seed in SEEDS:
        found = []
        for loss in pair:
            s, t, s2, t2, y = logits(seed, dtype)
            s.requires_grad_(), s2.requires_grad_()
            value = loss(s, t, s2, t2, y)
            value.backward()
            found.append((value.detach(), [z.grad for z in (s, s2) if z.grad is not None]))
        (theirs, their_gradients), (ours, our_gradients) = found
        losses.append(((theirs - ours) / theirs).abs().item())
        for a, b in zip(their_gradients, our_gradients, strict=True):
            gradients.append(((a - b).abs().max() / a.abs().max()).item())
    return max(losses), max(gradients)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--root", type=Path, required=True, help="folder of the repositories")
    root = made.parse_args().root
    warnings.simplefilter("ignore")
    torch.Tensor.cuda = nn.Module.cuda = lambda self, *_, **__: self
    print("| method | code | loss, float64 | gradient | loss, float32 | gradient |\n|---|---|---:|---:|---:|---:|")
    for repository, owner in REPOSITORIES.items():
        if not (root / repository).is_dir():
            continue
        commit = subprocess.run(
            ["git", "-C", root / repository, "rev-parse", "--short=7", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        torch.set_default_dtype(torch.float32)
        for method, pair in OF[repository](root / repository).items():
            figures = [
                f"{figure:.0e}" for dtype in (torch.float64, torch.float32) for figure in difference(pair, dtype)
            ]
            print(f"| {method} | {owner}/{repository} {commit} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
