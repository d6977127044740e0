"""Every configuration we ship loads, names things that exist, and holds the published numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mdistiller_icc.errors import UserError
from mdistiller_icc.host import get_host
from mdistiller_icc.run import configure
from mdistiller_icc.shipped import find_config

ROOT = Path(__file__).parents[2] / "configs"
FILES = sorted(file for file in ROOT.rglob("*.yaml") if file.parent.name != "coco")  # whose files are of detectors
TEACHERS = ("res56", "res110", "res32x4", "res50", "wrn40_2", "vgg13", "tiny_res18", "imagenet_res34", "imagenet_res50")
METHODS = "kd dkd crd reviewkd at sp rkd vid pkt fitnet ckd bickd pckd icckd".split()
# pair: batch, learning rate, w, τ; arXiv:2404.14109, authors' configurations
CKD = {
    "res56_res20": (64, 0.05, 10, 1),
    "res110_res32": (64, 0.05, 10, 1),
    "res32x4_res8x4": (64, 0.05, 100, 1),
    "vgg13_vgg8": (64, 0.05, 100, 1),
    "wrn40_2_wrn16_2": (64, 0.05, 100, 1),
    "wrn40_2_wrn40_1": (32, 0.05, 50, 2),
    "res32x4_shuv1": (32, 0.01, 100, 1),
    "wrn40_2_shuv1": (32, 0.01, 100, 1),
    "res50_mv2": (32, 0.01, 100, 1),
    "res32x4_shuv2": (64, 0.01, 100, 1),
    "vgg13_mv2": (32, 0.01, 50, 2),
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=map(name, FILES))
def test_loads_and_names_what_exists(path: Path) -> None:
    cfg = configure(str(path))
    host = get_host()
    models = host.models(cfg.DATASET.TYPE)
    assert cfg.DISTILLER.TYPE in host.distiller_dict and cfg.SOLVER.TRAINER in host.trainer_dict
    assert cfg.DISTILLER.STUDENT in models
    if cfg.DISTILLER.TYPE not in ("NONE", "ICC"):
        assert cfg.DISTILLER.TEACHER in models
    assert cfg.EXPERIMENT.TAG != "default" and cfg.EXPERIMENT.PROJECT != "distill"


def test_no_two_write_into_one_folder() -> None:
    tags = Counter((cfg.EXPERIMENT.PROJECT, cfg.EXPERIMENT.TAG) for cfg in (configure(str(path)) for path in FILES))
    assert [tag for tag, count in tags.items() if count > 1] == []


@pytest.mark.parametrize("teacher", TEACHERS)
def test_both_kinds_of_a_teacher_differ_in_the_recipe_alone(teacher: str) -> None:
    icc, plain = (configure(str(ROOT / kind / f"{teacher}.yaml")) for kind in ("icc", "vanilla"))
    assert (icc.DISTILLER.TYPE, plain.DISTILLER.TYPE) == ("ICC", "NONE")
    assert (icc.ICC.WEIGHT, icc.ICC.REDUCTION) == (0.1, "batch")
    assert icc.SOLVER.TRAINER == "icc" and plain.SOLVER.TRAINER == "base"
    for cfg in (icc, plain):
        cfg.defrost()
        cfg.DISTILLER.TYPE, cfg.SOLVER.TRAINER, cfg.EXPERIMENT.TAG = "", "", ""
    assert icc == plain


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_student_of_the_icc_teacher(method: str) -> None:
    cfg = configure(str(ROOT / "cifar100" / f"{method}_icc.yaml"))
    assert (cfg.DISTILLER.TEACHER, cfg.DISTILLER.STUDENT) == ("resnet110_icc", "resnet32")
    assert cfg.DISTILLER.TYPE == method.upper()
    assert (cfg.SOLVER.SCHEDULE, cfg.SOLVER.EPOCHS) == (("cosine", 480) if method == "ckd" else ("step", 240))
    assert cfg.SOLVER.BATCH_SIZE == (256 if method == "bickd" else 64)
    assert (cfg.SOLVER.LR, cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.MOMENTUM) == (0.05, 0.0005, 0.9)


@pytest.mark.parametrize("pair", CKD)
def test_ckd_as_published(pair: str) -> None:
    cfg = configure(str(ROOT / "cifar100" / "ckd" / f"{pair}.yaml"))
    solver, node = cfg.SOLVER, cfg.CKD
    assert (solver.BATCH_SIZE, solver.LR, node.CL_WEIGHT, node.TEMPERATURE) == CKD[pair]
    assert (solver.SCHEDULE, solver.EPOCHS, solver.WEIGHT_DECAY, node.CE_WEIGHT) == ("cosine", 480, 0.0005, 1.0)


@pytest.mark.parametrize("given", ["icc/res110", "icc/res110.yaml", "cifar100/ckd/res56_res20"])
def test_a_name_finds_the_shipped_file_from_any_folder(tmp_path, monkeypatch, given: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(given) == ROOT / f"{given.removesuffix('.yaml')}.yaml"
    assert configure(given).SOLVER.EPOCHS in (240, 480)


def test_a_file_that_is_there_wins(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "icc").mkdir()
    (tmp_path / "icc/res110").write_text("SOLVER: {EPOCHS: 7}")
    assert configure("icc/res110").SOLVER.EPOCHS == 7
    monkeypatch.chdir(ROOT.parent)
    assert find_config("configs/icc/res110.yaml") == Path("configs/icc/res110.yaml")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("configs/icc/res110.yaml", "no such file; the configuration that comes with the package is --cfg icc/res110"),
        ("../mdistiller/configs/vanilla/res56.yaml", "is --cfg vanilla/res56"),
        ("icc/res101", "icc/res101: no such file or shipped configuration (did you mean 'icc/res110'?)"),
        ("mien.yaml", "mien.yaml: no such file or shipped configuration (did you mean 'mine.yaml'?)"),
    ],
)
def test_what_is_meant_is_told(tmp_path, monkeypatch, given: str, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("")
    with pytest.raises(UserError) as raised:
        configure(given)
    assert told in str(raised.value)


@pytest.mark.parametrize("path", [p for p in FILES if "ckd" not in p.parts], ids=name)
def test_says_which_precision_it_is_trained_in(path: Path) -> None:
    assert 'PRECISION: "fp32" # as mdistiller; docs/speed.md is about auto' in path.read_text()
    assert configure(str(path)).SOLVER.PRECISION == configure(None).SOLVER.PRECISION == "fp32"
