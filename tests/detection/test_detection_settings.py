"""Detectors' configurations: those that are shipped, as published, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mdistiller_icc import settings
from mdistiller_icc.config import load_config
from mdistiller_icc.detection import run
from mdistiller_icc.detection.distillers import ALONE, TAUGHT
from mdistiller_icc.detection.models import NAMES, has_masks
from mdistiller_icc.detection.settings import SETTINGS, configure, every
from mdistiller_icc.detection.trainer import DetectionTrainer
from mdistiller_icc.engine.schedule import learning_rate
from mdistiller_icc.engine.trainer import Trainer
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register

FILES = sorted((Path(__file__).parents[2] / "configs" / "coco").glob("*.yaml"))
REVIEW = {"r101_r18": (1.2, 1.5), "r101_r50": (1.0, 0.8), "r50_mv2": (2.0, 1.0)}
"""ReviewKD's weights for Faster and Mask R-CNN."""
REVIEW_BESIDE_CKD = {"r101_r18": (1.2, 0.8), "r101_r50": (1.0, None), "r50_mv2": (2.0, 1.0)}


def test_every_shipped_configuration_names_what_exists():
    folders = Counter()
    for file in FILES:
        cfg = configure(str(file))
        parts = cfg.DISTILLER.TYPE.split("+")
        assert {*parts} <= {*ALONE, *TAUGHT} and cfg.DISTILLER.STUDENT in NAMES, file.name
        assert has_masks(cfg.DISTILLER.STUDENT) == file.name.startswith("mask_")
        if parts[0] not in ALONE:
            assert cfg.DISTILLER.TEACHER.removesuffix("_vanilla") in NAMES
            assert has_masks(cfg.DISTILLER.TEACHER.removesuffix("_vanilla")) == file.name.startswith("mask_")
        assert (cfg.DATASET.TYPE, cfg.DETECTION.EPOCH_STEPS, cfg.DETECTION.WARMUP_STEPS) == ("coco", 10000, 1000)
        assert cfg.DETECTION.BACKBONE == "imagenet" and cfg.DETECTION.NORM == "frozen"
        assert cfg.DETECTION.TRAINABLE == (5 if "mobilenet" in cfg.DISTILLER.STUDENT else 3)
        folders[cfg.EXPERIMENT.PROJECT, cfg.EXPERIMENT.TAG] += 1
    assert len(FILES) == 40 and max(folders.values()) == 1


@pytest.mark.parametrize("pair", REVIEW)
@pytest.mark.parametrize("kind", ["", "mask_"])
def test_weights_and_schedules_as_published(pair, kind):
    which = bool(kind)
    for method in ("reviewkd", "dkd", "reviewkd_dkd", "ckd", "reviewkd_ckd"):
        if "ckd" in method and REVIEW_BESIDE_CKD[pair][which] is None:
            assert not (FILES[0].parent / f"{kind}{method}_{pair}.yaml").exists()
            continue
        cfg = configure(f"coco/{kind}{method}_{pair}")
        twice = "ckd" in method
        assert (cfg.SOLVER.EPOCHS, cfg.SOLVER.LR_DECAY_STAGES) == ((36, [24, 32]) if twice else (18, [12, 16]))
        assert cfg.SOLVER.BATCH_SIZE == (4 if twice and pair == "r101_r18" else 8)
        assert (cfg.SOLVER.LR, cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.MOMENTUM) == (0.01, 0.0001, 0.9)
        if "review" in method:
            weight = (REVIEW_BESIDE_CKD if twice else REVIEW)[pair][which]
            assert (cfg.REVIEWKD.REVIEWKD_WEIGHT, cfg.REVIEWKD.WARMUP_EPOCHS) == (weight, 0)
        if "_dkd" in method or method == "dkd":
            assert (cfg.DKD.ALPHA, cfg.DKD.BETA, cfg.DKD.T, cfg.DKD.WARMUP) == (1, 0.25, 1, 0)
        if twice:
            assert (cfg.CKD.CL_WEIGHT, cfg.CKD.TEMPERATURE) == (0.1, 1)


def test_defaults_are_those_of_detection_and_every_key_is_described():
    cfg = configure(None)
    assert (cfg.DKD.BETA, cfg.CKD.CL_WEIGHT, cfg.REVIEWKD.WARMUP_EPOCHS, cfg.KD.TEMPERATURE) == (0.25, 0.1, 0, 1)
    for name, one in settings.each(SETTINGS):
        assert one.meaning.endswith("."), name
        if one.type in (int, float, list):
            assert {one.least, one.above} != {None} and {one.most, one.below} != {None}, name
    assert (cfg.ICC.POSITIVE, cfg.ICC.SIMILARITY) == ("twin", "cosine")
    assert {name for name, _ in settings.each(every())} >= {"DETECTION.TRAIN.IMAGES", "ICC.WEIGHT", "SOLVER.LR"}


REFUSED = [
    (["DATASET.FRACTION", "0.5"], "DATASET.FRACTION 0.5: is for classifiers"),
    (["DATASET.TYPE", "../mine"], "DATASET.TYPE names a folder"),
    (["SOLVER.COMPILE", "True"], "SOLVER.COMPILE True: is for classifiers"),
    (["DETECTION.PROPOSALS", "0"], "DETECTION.PROPOSALS must be at least 2"),
    (["DETECTION.ANCHORS", "[32, 64]"], "DETECTION.ANCHORS wants 5 numbers"),
    (["DETECTION.PROPOSAL", "5"], r"unknown key DETECTION.PROPOSAL \(did you mean 'DETECTION.PROPOSALS'\?\)"),
    (["DISTILLER.STUDENT", "resnet18"], "DISTILLER.STUDENT: no detector 'resnet18'"),
    (["DISTILLER.TYPE", "DKD", "DISTILLER.TEACHER", "resnet101_fpn"], "torchvision has no weights of it; name"),
    (
        ["DISTILLER.TYPE", "DKD", "DISTILLER.TEACHER", "resnet18_fpn_icc"],
        "resnet18_fpn_icc.pth: no such teacher; train it",
    ),
    (["DISTILLER.TYPE", "NONE", "DETECTION.BACKBONE", "imagenett"], "neither imagenet nor none, nor a file"),
    (["DISTILLER.TYPE", "NONE", "DETECTION.MAX_SIZE", "90"], "DETECTION.MAX_SIZE must be at least"),
]


@pytest.mark.parametrize("options, message", REFUSED)
def test_what_is_refused(pasted, options, message):
    from tests.detection.conftest import options as small

    with pytest.raises(UserError, match=message):
        run.check(configure(None, [*small(pasted), *options]))


def test_a_teacher_is_trained_by_a_recipe_of_teachers(configured):
    cfg = configured("DISTILLER.TYPE", "DKD")
    with pytest.raises(UserError, match="--teacher: DISTILLER.TYPE DKD trains students"):
        run.check(cfg, role="teacher")


def test_a_classifiers_command_says_who_trains_detectors():
    with pytest.raises(UserError, match="unknown key DETECTION; detectors are trained by tools/train_detection.py"):
        load_config(register(verbose=False).host.CFG, FILES[0])


def test_the_learning_rate_rises_step_by_step_and_then_falls_by_epoch(configured, monkeypatch):
    rates = []
    monkeypatch.setattr(Trainer, "step", lambda self, inputs, epoch: rates.append(self.optimizer.param_groups[0]["lr"]))
    trainer = object.__new__(DetectionTrainer)
    rising = ["DETECTION.WARMUP_STEPS", "4", "DETECTION.WARMUP_FACTOR", "0.2"]
    trainer.cfg = configured(*rising, "SOLVER.LR", "0.5", "SOLVER.LR_DECAY_STAGES", "[2]")
    trainer.train_loader = range(3)
    trainer.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    for epoch in (1, 2, 3):
        trainer.optimizer.param_groups[0]["lr"] = learning_rate(epoch, trainer.cfg.SOLVER)  # as an epoch begins
        for step in (1, 2, 3):
            trainer.watch = SimpleNamespace(step=step)
            trainer.step({}, epoch)
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.05, 0.05, 0.05])
