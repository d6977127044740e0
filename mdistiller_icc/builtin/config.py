"""The built-in host's configuration: mdistiller's schema and defaults, with one node per method."""

from __future__ import annotations

from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers import distiller_dict

CFG = CfgNode(
    {
        "EXPERIMENT": {"PROJECT": "distill", "NAME": "", "TAG": "default"},
        "DATASET": {"TYPE": "cifar100", "NUM_WORKERS": 2, "TEST": {"BATCH_SIZE": 64}},
        "DISTILLER": {"TYPE": "NONE", "TEACHER": "ResNet50", "STUDENT": "resnet32"},
        "SOLVER": {
            "TRAINER": "base",
            "BATCH_SIZE": 64,
            "EPOCHS": 240,
            "LR": 0.05,
            "LR_DECAY_STAGES": [150, 180, 210],
            "LR_DECAY_RATE": 0.1,
            "WEIGHT_DECAY": 0.0001,
            "MOMENTUM": 0.9,
            "TYPE": "SGD",
            "DOT": {"DELTA": 0.075},
        },
        # mdistiller has WANDB on, which stops every run on a machine without an account.
        "LOG": {"TENSORBOARD_FREQ": 500, "SAVE_CHECKPOINT_FREQ": 40, "PREFIX": "./output", "WANDB": False},
        # True brings back what mdistiller does where we mended it and the numbers differ.
        "COMPAT": {"UPSTREAM": False},
    }
)

for _name, _method in distiller_dict.items():
    if _node := _method.defaults():
        CFG[_name] = _node
