"""The settings of every run, whatever its method: mdistiller's, with its defaults, and what our engine reads beyond."""

from __future__ import annotations

from mdistiller_icc.settings import LARGEST, Setting, Settings, count

MDISTILLERS: dict[str, Settings] = {
    "EXPERIMENT": {
        "PROJECT": Setting("distill", "Folder of the run's folder, below LOG.PREFIX.", form="folder"),
        "NAME": Setting("", "Name of the run; without one it is TAG and the overrides.", form="name"),
        "TAG": Setting("default", "Beginning of the name of a run that has no NAME.", form="name"),
    },
    "DATASET": {
        "TYPE": Setting(
            "cifar100",
            "cifar10, cifar100, tiny_imagenet, stl10, imagenet, places365, digits, or imagefolder: any tree of images.",
        ),
        "NUM_WORKERS": count(2, "Processes that decode images.", least=0, most=256),
        "TEST": {"BATCH_SIZE": count(64, "Images per batch of an evaluation; no result depends on it.", most=2**20)},
    },
    "DISTILLER": {
        "TYPE": Setting("NONE", "The method: one of those below, a sum such as DKD+CRD, or NONE for plain training."),
        "TEACHER": Setting(
            "ResNet50",
            "The network that is learnt from; X_icc and X_vanilla come from the store. X may be timm/Y, torchvision/Y.",
        ),
        "STUDENT": Setting(
            "resnet32", "The network that is trained, in teacher recipes too: the host's, timm/Y or torchvision/Y."
        ),
    },
    "SOLVER": {
        "TRAINER": Setting("base", "The training loop: base, crd, dot, crd_dot or icc."),
        "BATCH_SIZE": count(64, "Images per training step.", most=2**20),
        "EPOCHS": count(240, "Passes over the training images.", most=10**6),
        "LR": Setting(0.05, "Learning rate at the beginning.", least=0, most=1e9),
        "LR_DECAY_STAGES": Setting(
            [150, 180, 210], "Epochs after which the step schedule multiplies the rate.", least=0, most=LARGEST
        ),
        "LR_DECAY_RATE": Setting(0.1, "What the step schedule multiplies it by.", least=0, most=1),
        "WEIGHT_DECAY": Setting(0.0001, "L2 factor of the optimiser.", least=0, most=100),
        "MOMENTUM": Setting(0.9, "Momentum of SGD.", least=0, most=1),
        "TYPE": Setting("SGD", "The optimiser.", choices=("SGD", "AdamW")),
        "DOT": {
            "DELTA": Setting(0.075, "Δ, which parts the two momenta of the trainers dot and crd_dot.", least=-1, most=1)
        },
    },
    "LOG": {
        "TENSORBOARD_FREQ": count(500, "Read by mdistiller alone: our figures are written once an epoch.", least=0),
        "SAVE_CHECKPOINT_FREQ": count(40, "Epochs from one kept checkpoint to the next."),
        "PREFIX": Setting("./output", "Folder of all runs.", form="path"),
        # mdistiller has it on, which stops every run on a machine without an account.
        "WANDB": Setting(False, "Whether Weights & Biases is told; needs wandb."),
    },
}
"""mdistiller's schema."""

COMPAT: Settings = {
    "UPSTREAM": Setting(False, "True brings back mdistiller's behaviour where mending it changed numbers.")
}

OURS: dict[str, Settings] = {
    "EXPERIMENT": {
        "SEED": Setting(
            None,
            "Seed of the run; None is 0, and names neither the run's folder nor the teacher's file.",
            least=0,
            most=2**63 - 1,
            kind=int,
        ),
        "PAIR_SETTINGS": Setting(
            "none",
            "published: a method's settings are those published for the pair of networks, where there are any.",
            choices=("none", "published"),
        ),
    },
    "DATASET": {
        "ROOT": Setting("data", "Folder of the data set's files.", form="path"),
        "IMAGE_SIZE": Setting(
            None,
            "Height and width that images are brought to; None is the data set's own.",
            least=8,
            most=4096,
            kind=int,
        ),
        "MEAN": Setting(
            None,
            "Of the red, green and blue in [0, 1], instead of the data set's own.",
            least=0,
            most=1,
            length=(3, 3),
            kind=list,
            entries=float,
        ),
        "STD": Setting(
            None, "Their standard deviations, likewise.", above=0, most=1, length=(3, 3), kind=list, entries=float
        ),
        "IMAGES": Setting("", "A data set whose images students learn from instead, labelled by their teacher."),
        "FRACTION": Setting(1.0, "Share of the training images, the same of every class.", above=0, most=1),
        "HOLDOUT": Setting(0.0, "Share of the training images kept apart to choose an epoch by.", least=0, below=1),
        "LOADER": Setting(
            "auto",
            "resident: images live on the device; workers: processes decode them.",
            choices=("auto", "resident", "workers"),
        ),
    },
    "DISTILLER": {
        "LOGIT_STAND": Setting(False, "Whether a method compares standardised logits, which makes it METHOD+LS."),
        "TEACHER_CKPT": Setting("", "A teacher's checkpoint, wherever it is.", form="path"),
        "TEACHER_SEED": Setting(
            None, "Which of a stored teacher's seeds; None is the one without.", least=0, most=2**63 - 1, kind=int
        ),
        "STUDENT_CKPT": Setting("", "A checkpoint that the trained network starts from, wherever it is.", form="path"),
        "NEW_CLASSIFIER": Setting(
            False, "Whether STUDENT_CKPT's classifier is left out and a new one begins, as for other classes."
        ),
        "GATHER": Setting(True, "Of several processes: whether losses between images see the whole batch."),
    },
    "SOLVER": {
        "SCHEDULE": Setting("step", "How the learning rate falls.", choices=("step", "cosine")),
        "LR_MIN": Setting(0.0, "Learning rate that the cosine schedule ends at.", least=0, most=1e9),
        "PRECISION": Setting(
            "fp32",
            "What networks compute in: fp32 as mdistiller; auto is bf16 where the hardware multiplies it.",
            choices=("fp32", "bf16", "auto"),
        ),
        "CHANNELS_LAST": Setting(
            "auto", "Whether images are laid out channels-last.", choices=("auto", "always", "never")
        ),
        "SYNC_BN": Setting(False, "Of several processes: whether batch norms see the whole batch."),
        "COMPILE": Setting(False, "Whether the training step goes through torch.compile."),
        "EVAL_EVERY": count(1, "Epochs from one evaluation to the next; the last epoch is always evaluated."),
        "ON_NAN": Setting(
            "stop", "What is done about a loss that is not finite; skip leaves the step out.", choices=("stop", "skip")
        ),
    },
    "COMPAT": COMPAT,
}
"""What the engine reads beyond mdistiller's schema, with defaults that keep mdistiller's behaviour."""


def of_every_run() -> dict[str, Settings]:
    """mdistiller's and ours, group by group."""
    return {group: {**MDISTILLERS.get(group, {}), **OURS.get(group, {})} for group in {**MDISTILLERS, **OURS}}


RETIRED = ("ICC.QUEUE.GATHER", "CKD.GATHER", "BICKD.GATHER", "PCKD.GATHER")
"""Keys of version 0.1.0 that ``DISTILLER.GATHER`` has replaced; files that still have them are read without."""
FORKS = {
    "SOLVER.LR_COSINE": "SOLVER.SCHEDULE",
    "SOLVER.LR_COSINE_MIN": "SOLVER.LR_MIN",
    "SOLVER.LR_COS": "SOLVER.SCHEDULE",
    "SOLVER.MIN_LR": "SOLVER.LR_MIN",
}
"""Keys of published forks (CKD's, DeepKD's) with the one of ours that says the same; True and False are schedules."""
HINTS = {
    "DETECTION": "; detectors are trained by tools/train_detection.py",
    "SOLVER.SCHEDULER": "; SOLVER.SCHEDULE step or cosine says it here",
    "SOLVER.LR_SCHEDULE": "; SOLVER.SCHEDULE step or cosine says it here",
    "SOLVER.LR_SCHEDULER": "; SOLVER.SCHEDULE step or cosine says it here",
    "SOLVER.LR_POLICY": "; SOLVER.SCHEDULE step or cosine says it here",
    "SOLVER.DEEPKD": "; DeepKD's trainer is not here, SOLVER.TRAINER dot is the nearest",
    "SOLVER.AMP": "; SOLVER.PRECISION bf16 says it here",
    "SOLVER.USE_AMP": "; SOLVER.PRECISION bf16 says it here",
    "SOLVER.WARMUP_EPOCHS": "; here the learning rate has no warm-up, leave it out",
    "SOLVER.WARMUP_FACTOR": "; here the learning rate has no warm-up, leave it out",
    "DATASET.NUM_CLASSES": "; the data set says it here, leave it out",
    "DATASET.INPUT_SIZE": "; DATASET.IMAGE_SIZE says it here",
    "DATASET.PREFETCH": "; DATASET.LOADER says it here",
}
"""What to say of other keys of forks."""
