"""Files that version 0.1.0 wrote: its teachers teach, its runs go on, and nothing goes on as something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mdistiller_icc import data
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure, run
from mdistiller_icc.teachers import resolve

WRITTEN = Path(__file__).parent / "data" / "0.1.0"
OPTIONS = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.1", "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "2",
    "SOLVER.BATCH_SIZE", "16", "SOLVER.LR_DECAY_STAGES", "[]", "SOLVER.LR", "0.05",
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    shutil.copytree(WRITTEN, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_teacher_teaches(folder):
    cfg = configure(None, ["DATASET.TYPE", "digits", "DISTILLER.TEACHER", "resnet8_icc"])
    images = data.load(cfg, 0, torch.device("cpu"))
    teacher, whose = resolve.load(register(verbose=False).host.cifar_model_dict, cfg, images.classes)
    correct = sum((teacher.eval()(image)[0].argmax(1) == target).sum().item() for image, target in images.test)
    told = json.loads((folder / "output/distill/icc/record.json").read_text())
    assert 100 * correct / 360 == pytest.approx(told["top1"]["last"], abs=0.6)  # on other processors two images
    assert whose.record()["kind"] == "icc"


def test_a_finished_run_is_finished_and_has_its_record():
    options = [*OPTIONS, "DISTILLER.TYPE", "NONE", "EXPERIMENT.NAME", "plain"]
    before = json.loads(Path("output/distill/plain/record.json").read_text())
    record = run(configure(None, options), "teacher", resume=True, overwrite=True)
    assert record["status"] == "finished" and record["top1"] == before["top1"]


def test_a_run_goes_on():
    options = [*OPTIONS, "DISTILLER.TYPE", "NONE", "EXPERIMENT.NAME", "plain"]
    metrics = Path("output/distill/plain/metrics.jsonl")
    first = json.loads(metrics.read_text().splitlines()[0])
    state = torch.load("output/distill/plain/latest", weights_only=True)
    torch.save(state | {"epoch": 1}, "output/distill/plain/latest")  # as if it had been stopped after its first epoch
    run(configure(None, options), "teacher", resume=True, overwrite=True)
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2] and lines[0] == first


def test_an_icc_run_does_not_go_on_with_another_similarity():
    options = [*OPTIONS, "DISTILLER.TYPE", "ICC", "SOLVER.TRAINER", "icc", "EXPERIMENT.NAME", "icc"]
    options += ["ICC.WEIGHT", "0.02"]  # its default then
    for similarity in ("dot", "cosine"):
        with pytest.raises(UserError, match="latest: not a checkpoint of this run .*_extra_state"):
            run(configure(None, [*options, "ICC.SIMILARITY", similarity]), "teacher", resume=True, overwrite=True)
