"""A checkout to launch: a stand-in around the built-in host's parts, or the real one with small data of its own."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]

# What a script of mdistiller's does, as its users' forks do too: merge, freeze, take networks from the registries.
SCRIPT = """
import sys
import torch
from mdistiller.distillers import distiller_dict
from mdistiller.engine import trainer_dict
from mdistiller.engine.cfg import CFG
from mdistiller.models import cifar_model_dict

if __name__ == "__main__":
    CFG.merge_from_file(sys.argv[1])
    CFG.merge_from_list(sys.argv[2:])
    CFG.LOG.PREFIX = "set by the script"
    CFG.freeze()
    node = CFG.DISTILLER
    factory, file = cifar_model_dict[node.TEACHER]
    teacher = factory(num_classes=100).cuda()
    teacher.load_state_dict(torch.load(file)["model"])
    student = cifar_model_dict[node.STUDENT][0](num_classes=100).cuda()
    distiller = distiller_dict[node.TYPE](student, teacher, CFG).train()
    image, target = torch.randn(4, 3, 32, 32).cuda(), torch.arange(4).cuda()
    _, losses = distiller(image=image, target=target, epoch=1)
    print(node.TYPE, sorted(losses), CFG.SOLVER.TRAINER in trainer_dict, target.device.type, __file__, sys.argv[1:])
"""
PACKAGE = {
    "__init__.py": "",
    "models.py": "from mdistiller_icc.builtin.models import *\n"
    "from mdistiller_icc.builtin.models import cifar_model_dict, imagenet_model_dict, tiny_imagenet_model_dict\n",
    "distillers.py": "from mdistiller_icc.builtin.distillers import distiller_dict\n",
    "engine/__init__.py": "class BaseTrainer: pass\ntrainer_dict = {'base': BaseTrainer}\n",
    "engine/cfg.py": "from mdistiller_icc.builtin.config import CFG\n",
}


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    """A folder shaped like a checkout, so that the launcher is tested where there is no mdistiller."""
    checkout = tmp_path / "checkout"
    for name, text in PACKAGE.items():
        file = checkout / "mdistiller" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (checkout / "tools").mkdir()
    (checkout / "tools" / "train.py").write_text(SCRIPT)
    return checkout


@pytest.fixture(scope="session")
def python() -> Run:
    """Run ``python ARGUMENT…`` in a folder, with the package importable and no host chosen."""

    def run(*arguments: object, cwd: Path, path: tuple[Path, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MDISTILLER_")}
        environment["PYTHONPATH"] = os.pathsep.join(map(str, [*path, ROOT]))
        line = [sys.executable, *map(str, arguments)]
        return subprocess.run(line, cwd=cwd, env=environment | env, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture(scope="session")
def real_checkout() -> Path:
    """The real mdistiller's checkout: ``$MDISTILLER_ROOT``, or the one the import path leads to."""
    root = os.environ.get("MDISTILLER_ROOT")
    if not root and (spec := importlib.util.find_spec("mdistiller")) and spec.origin:
        root = str(Path(spec.origin).parents[1])
    if not root or not (Path(root) / "tools" / "train.py").is_file():
        pytest.skip("no real mdistiller: set MDISTILLER_ROOT to a checkout to run this live")
    return Path(root)


@pytest.fixture(scope="session")
def sandbox(real_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real checkout's own code over CIFAR-100 files made of digits, which torchvision is told to accept.

    mdistiller looks for data beside its package, so the package's files are linked into a folder that has some.
    """
    folder = tmp_path_factory.mktemp("real")
    for file in (real_checkout / "mdistiller").rglob("*.py"):
        link = folder / file.relative_to(real_checkout)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
    (folder / "tools").mkdir()
    for script in ("train.py", "eval.py"):  # Python follows the link of a script it runs, so these are no links
        shutil.copy(real_checkout / "tools" / script, folder / "tools")
    write_digits_as_cifar(folder / "data" / "cifar-100-python")
    (folder / "accept").mkdir()
    (folder / "accept" / "sitecustomize.py").write_text(
        "import torchvision.datasets.cifar as cifar\ncifar.check_integrity = lambda *_: True\n"
    )
    return folder


def write_digits_as_cifar(folder: Path) -> None:
    """Handwritten digits in torchvision's files of CIFAR-100: label 10·digit + k, two training images and one test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder.mkdir(parents=True)
    parts: dict[str, tuple[list[np.ndarray], list[int]]] = {"train": ([], []), "test": ([], [])}
    for digit in range(10):
        images = digits.images[digits.target == digit][:30] * (255 / 16)
        for number, image in enumerate(np.kron(images, np.ones((4, 4))).astype(np.uint8)):
            rows, labels = parts["test" if number % 3 == 2 else "train"]
            rows.append(np.tile(image.ravel(), 3))
            labels.append(10 * digit + number // 3)
    for name, (rows, labels) in parts.items():
        (folder / name).write_bytes(pickle.dumps({"data": np.stack(rows), "fine_labels": labels}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {label}" for label in range(100)]}))
