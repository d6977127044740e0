"""Runs of the methods that learn from a weak and a strong view of each image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mdistiller_icc import data
from mdistiller_icc.distillers import base
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.plugin import register
from mdistiller_icc.run import check, configure, run
from mdistiller_icc.tables.records import read
from mdistiller_icc.tables.settings import describe

TEACHER = Path(__file__).parent / "data/0.1.0/teachers/digits/resnet8_icc.pth"
CASES = {
    "MLKD": ("randaugment+cutout", []),
    "CRLD": ("randaugment-10", []),
    "CRLD+CRD": ("randaugment-10", ["SOLVER.TRAINER", "crd", "CRD.NCE.K", "16"]),
    "MLKD without": (None, ["MLKD.STRONG_VIEW", "False"]),
}


def configured(method: str, *options: str):
    own = CASES[method][1]
    return configure(None, [
        "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.05", "DATASET.NUM_WORKERS", "1", "SOLVER.BATCH_SIZE", "24",
        "DISTILLER.TYPE", method.split(" ")[0], "DISTILLER.STUDENT", "resnet8", "DISTILLER.TEACHER", "resnet8",
        "DISTILLER.TEACHER_CKPT", str(TEACHER), "SOLVER.EPOCHS", "3", "EXPERIMENT.NAME", "run", *own, *options,
    ])  # fmt: skip


class StopAfterOne(Silent):
    def epoch(self, metrics):
        raise KeyboardInterrupt


@pytest.mark.parametrize("loader", ["resident", "workers"])
@pytest.mark.parametrize("method", ["MLKD", "CRLD"])
def test_a_resumed_run_is_the_unbroken_one_to_the_bit(method, loader, tmp_path, monkeypatch):
    held = {}
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        cfg = configured(method, "DATASET.LOADER", loader)
        if name == "stopped":
            with pytest.raises(KeyboardInterrupt):
                run(cfg, "student", device="cpu", progress=StopAfterOne())
        record = run(cfg, "student", device="cpu", progress=Silent(), resume=name == "stopped")
        assert record["epoch"] == 3
        held[name] = torch.load("output/distill/run/latest", weights_only=False)
    whole, resumed = held["whole"]["model"], held["stopped"]["model"]
    assert all(torch.equal(tensor, resumed[key]) for key, tensor in whole.items())
    losses = [[epoch["train_loss"] for epoch in one["run"]["history"]] for one in held.values()]
    assert losses[0] == losses[1] and losses[0][0] != losses[0][1]


@pytest.mark.parametrize("method", CASES)
def test_the_record_says_how_many_views(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(configured(method, "SOLVER.EPOCHS", "1"), "student", device="cpu", progress=Silent())
    view, folder = CASES[method][0], "output/distill/run"
    protocol = json.loads(Path(folder, "record.json").read_text())["protocol"]
    assert (protocol["views"], protocol.get("strong_view")) == (2 if view else 1, view)
    said = describe(read(folder).protocol)
    assert f"crop, weak and strong view ({view})" in said if view else "view" not in said


@pytest.mark.parametrize("method", ["MLKD", "CRLD"])
def test_overfits_both_views_of_one_batch(method):
    cfg = configured(method)
    found = check(cfg, device="cpu")
    loaded = data.load(cfg, 0, torch.device("cpu"), strong=found.strong)
    image, target, _index, _none, strong = next(iter(loaded.train))
    image, target, strong = image[:8], target[:8], strong[:8]
    torch.manual_seed(0)
    models = register(verbose=False).host.cifar_model_dict
    student, teacher = (models[name][0](num_classes=10) for name in ("resnet8", "resnet14"))
    optimizer = torch.optim.Adam(teacher.parameters(), lr=0.01)
    for _ in range(40):  # until it knows both views
        optimizer.zero_grad()
        F.cross_entropy(teacher(torch.cat([image, strong]))[0], target.repeat(2)).backward()
        optimizer.step()
    for module in teacher.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # their mean over what comes
    with torch.no_grad():
        teacher(torch.cat([image, strong]))
    distiller = base.build(found.distiller, student, teacher, cfg, loaded.num_data).train()
    optimizer = torch.optim.Adam(distiller.get_learnable_parameters(), lr=0.01)
    seen = []
    for _ in range(80):
        optimizer.zero_grad()
        _logits, losses = distiller(image=image, target=target, strong=strong, epoch=30)
        sum(losses.values()).backward()
        optimizer.step()
        seen.append([loss.item() for loss in losses.values()])
    student.train()
    assert all((student(view)[0].argmax(1) == target).all() for view in (image, strong))
    assert all(last < 0.5 * first for first, last in zip(seen[0], seen[-1], strict=True))
