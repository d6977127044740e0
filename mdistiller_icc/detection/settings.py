"""The settings of detectors, the node ``DETECTION``, and the configuration of a run that trains one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from yacs.config import CfgNode

from mdistiller_icc import config, schema, settings
from mdistiller_icc.errors import UserError, shown
from mdistiller_icc.plugin import METHODS
from mdistiller_icc.settings import Setting, Settings, count, node
from mdistiller_icc.shipped import find_config


def _split(annotations: str, images: str, which: str) -> Settings:
    return {
        "ANNOTATIONS": Setting(annotations, f"COCO's JSON of the {which} images, below DATASET.ROOT.", form="path"),
        "IMAGES": Setting(images, "Folder of their files, below DATASET.ROOT.", form="path"),
    }


SETTINGS: Settings = {
    "TRAIN": _split("annotations/instances_train2017.json", "train2017", "training"),
    "VAL": _split("annotations/instances_val2017.json", "val2017", "test"),
    "EPOCH_STEPS": count(0, "Steps that count as an epoch; 0: one pass over the training images.", least=0),
    "WARMUP_STEPS": count(1000, "First steps, over which the learning rate rises to SOLVER.LR.", least=0),
    "WARMUP_FACTOR": Setting(0.001, "Share of SOLVER.LR at the first step.", least=0, most=1),
    "MIN_SIZE": Setting(
        [640, 672, 704, 736, 768, 800],
        "Lengths that an image's short side is brought to in training, one of them at random; the last in tests.",
        least=16,
        most=8192,
        length=(1, 100),
    ),
    "MAX_SIZE": count(1333, "Largest length of the long side.", least=16, most=8192),
    "BACKBONE": Setting(
        "imagenet", "Weights a student's backbone begins with: imagenet (torchvision's), none, a file."
    ),
    "TRAINABLE": count(3, "How many of the backbone's five stages are trained, the deepest.", least=0, most=5),
    "NORM": Setting(
        "frozen",
        "The backbone's batch norms: frozen with what they begin with, or trained.",
        choices=("frozen", "batch"),
    ),
    "FPN_CHANNELS": count(256, "Channels of the feature pyramid.", most=65536),
    "BOX_WIDTH": count(1024, "Features of the box head.", most=65536),
    "MASK_WIDTH": count(256, "Channels of the mask head.", most=65536),
    "ANCHORS": Setting(
        [32, 64, 128, 256, 512], "Sizes of the anchors, level by level.", least=1, most=8192, length=(5, 5)
    ),
    "RPN_KEPT": count(1000, "Proposals of an image that training keeps after suppression.", most=10**6),
    "PROPOSALS": count(512, "Proposals of an image that the box head is trained with.", least=2, most=10**6),
}

DEFAULTS = {
    "DATASET": {"TYPE": "coco"},
    "DISTILLER": {"TEACHER": "fasterrcnn_resnet50_fpn_v2", "STUDENT": "resnet18_fpn"},
    "SOLVER": {
        "BATCH_SIZE": 8,
        "EPOCHS": 12,
        "LR": 0.01,
        "LR_DECAY_STAGES": [8, 11],
        "WEIGHT_DECAY": 0.0001,
    },
    "LOG": {"SAVE_CHECKPOINT_FREQ": 100},
    "DKD": {"ALPHA": 1.0, "BETA": 0.25, "T": 1.0, "WARMUP": 0},
    "KD": {"TEMPERATURE": 1.0, "LOSS": {"CE_WEIGHT": 1.0, "KD_WEIGHT": 1.0}},
    "CKD": {"CL_WEIGHT": 0.1, "TEMPERATURE": 1.0},
    "REVIEWKD": {"REVIEWKD_WEIGHT": 1.0, "WARMUP_EPOCHS": 0},
    # A box head's features are long, and what was chosen for classifiers was not tried here: docs/detection.md.
    "ICC": {"WEIGHT": 0.02, "REDUCTION": "anchors", "POSITIVE": "twin", "SIMILARITY": "cosine"},
}
"""Where a detector's usual setting is another than a classifier's: its schedule, and weights as published for COCO."""

UNREAD = (
    "DATASET.FRACTION", "DATASET.HOLDOUT", "DATASET.IMAGES", "DATASET.IMAGE_SIZE", "DATASET.LOADER",
    "DISTILLER.STUDENT_CKPT", "DISTILLER.NEW_CLASSIFIER", "EXPERIMENT.PAIR_SETTINGS", "SOLVER.TRAINER",
    "SOLVER.COMPILE", "SOLVER.CHANNELS_LAST", "COMPAT.UPSTREAM",
)  # fmt: skip
"""What is for classifiers alone."""


def every() -> dict[str, Settings]:
    """Every setting that a detector's configuration has, group by group."""
    methods = {name: method.settings for name, method in METHODS.items() if method.settings}
    return {**schema.of_every_run(), **methods, "DETECTION": SETTINGS}


def known() -> CfgNode:
    """A detector's configuration with every default."""
    cfg = node(every())
    config.merge(cfg, DEFAULTS, "defaults")
    return cfg


def configure(path: str | None, options: Sequence[str] = (), seed: int | None = None) -> CfgNode:
    """The configuration of a run: the defaults, a file, overrides, and the seed if it is named.

    Args:
        path: a file, or the name of a shipped configuration: ``coco/ckd_r50_mv2``.

    Raises:
        UserError: the file or an override is wrong, a setting out of its range, or for classifiers alone.
    """
    seeded = [] if seed is None else ["EXPERIMENT.SEED", str(seed)]
    defaults = known()
    cfg = config.load_config(defaults, None if path is None else find_config(path), [*options, *seeded])
    settings.check(cfg, every())
    if not re.fullmatch(r"\w[\w.-]*", cfg.DATASET.TYPE):
        raise UserError(f"DATASET.TYPE names a folder: letters, digits, dots and dashes, not {shown(cfg.DATASET.TYPE)}")
    for name in UNREAD:
        group, _, key = name.partition(".")
        if cfg[group][key] != defaults[group][key]:
            raise UserError(f"{name} {cfg[group][key]}: is for classifiers, detectors do not read it")
    return cfg
