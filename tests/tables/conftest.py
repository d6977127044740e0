"""Run folders as the engine leaves them: record.json, metrics.jsonl and config.yaml."""

from __future__ import annotations

import copy
import json
import zlib
from pathlib import Path

import pytest

PROTOCOL = {
    "epochs": 240,
    "batch_size": 64,
    "optimizer": "SGD",
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "schedule": "step",
    "lr_decay_stages": [150, 180, 210],
    "lr_decay_rate": 0.1,
    "augmentation": "crop+flip",
    "precision": "fp32",
    "fraction": 1.0,
    "holdout": 0.0,
}
NASTY = r"x|y_z & 50% #1 {a} \b ~^$ <script>alert(1)</script> `*` 中 é [0] \end{tabular}"
"""What every format has to escape."""
IMAGES = {"digits": (10, 1437, 360), "cifar100": (100, 50000, 10000)}


def digest(text: str) -> str:
    return f"sha256:{zlib.crc32(text.encode()):08x}"


def make_record(
    method="KD",
    top1=70.0,
    seed=0,
    pair=("resnet56", "resnet20"),
    kind="vanilla",
    role="student",
    dataset="cifar100",
    protocol=None,
    settings=None,
    teacher=None,
    **changes,
) -> dict:
    """A finished run's record; ``teacher`` changes the teacher's fields, ``changes`` the record's own."""
    classes, train, test = IMAGES.get(dataset, (100, 1000, 500))
    taught = method not in ("NONE", "ICC")
    network = pair[1] if role == "student" else pair[0]
    made_of = {
        "architecture": pair[0],
        "kind": kind,
        "seed": seed,
        "digest": digest(f"{dataset}{pair[0]}{kind}{seed}"),
        "top1": 72.0 + seed / 10,
    }
    accuracy = {"last": top1, "mean_last_10": top1 - 0.1, "best_test": top1 + 0.3, "heldout_selected": None}
    record = {
        "schema": 1,
        "status": "finished",
        "project": dataset,
        "name": f"{method}_{kind}_{seed}",
        "dataset": dataset,
        "num_classes": classes,
        "num_train": train,
        "num_test": test,
        "role": role,
        "method": method,
        "teacher": made_of | (teacher or {}) if taught else None,
        "student": {"architecture": network},
        "seed": seed,
        "protocol": copy.deepcopy(PROTOCOL) | (protocol or {}),
        "method_config": settings if settings is not None else {"TEMPERATURE": 4.0} if taught else {},
        "epoch": 240,
        "best_epoch": 231,
        "top1": accuracy,
        "top5": {key: value and min(99.9, value + 20) for key, value in accuracy.items()},
        "seconds": 3600.5,
        "images_per_second": 3333.3,
        "device": "cpu",
        "host": {"name": "builtin", "version": "0.1.0"},
        "versions": {"mdistiller_icc": "0.1.0", "torch": "2.15.0", "numpy": "2.4.6", "python": "3.11.2"},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T01:00:00+00:00",
        "error": None,
    }
    return record | changes


class Output:
    """An output folder that runs are written into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def run(self, name: str | None = None, **what) -> Path:
        """Write a finished run and return its folder; keywords are those of `make_record`."""
        self.count += 1
        folder = self.root / "study" / (name or f"run_{self.count:05d}")
        return self.write(folder, make_record(**what))

    def write(self, folder: Path, record: dict) -> Path:
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record, indent=1))
        (folder / "config.yaml").write_text("DISTILLER:\n  TYPE: KD\n")
        last = record["top1"]["last"] or 0.0
        lines = []
        for epoch in range(1, 25):
            top1 = last * (1 - 0.7 ** (epoch / 2)) + (last * 0.7**12 if epoch == 24 else 0)
            lines.append(json.dumps({"epoch": epoch, "lr": 0.05, "test_top1": round(top1, 2), "test_top5": 90.0}))
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        return folder


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "output")


@pytest.fixture
def new_output(tmp_path_factory: pytest.TempPathFactory):
    """Make an output folder of its own for every example of a property."""
    return lambda: Output(tmp_path_factory.mktemp("output"))


@pytest.fixture
def study(output):
    """Two pairs on CIFAR-100 with both kinds of teachers, and what an output folder gathers beside finished runs."""
    for pair, base in ((("resnet56", "resnet20"), 70.0), (("vgg13", "vgg8"), 72.0)):
        for method, more in (("KD", 0.0), ("DKD", 1.0)):
            for kind, gain in (("vanilla", 0.0), ("icc", 0.4)):
                for seed in range(3):
                    if (method, kind, seed, pair[0]) != ("DKD", "icc", 2, "vgg13"):
                        top1 = base + more + gain + seed / 10 + (kind == "icc") * seed / 100
                        output.run(method=method, kind=kind, seed=seed, pair=pair, top1=top1)
    for seed in range(3):
        output.run(method="NONE", role="teacher", seed=seed, top1=72.0 + seed)
        output.run(method="ICC", role="teacher", seed=seed, top1=72.5 + seed)
        output.run(method="NONE", seed=seed, top1=69.0 + seed)
    output.run(name="later", status="failed", epoch=3, error=f"RuntimeError: {NASTY}\n\x1b[31mred")
    return output
