"""A last batch of one image: no batch norm sees it alone, every image is seen, and a resume goes on to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mdistiller_icc import data
from mdistiller_icc.data.loaders import batch_sizes
from mdistiller_icc.distillers import base
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure, run
from mdistiller_icc.teachers import checkpoint, resolve

CPU = torch.device("cpu")
BATCH = 47
SMALL = ["DATASET.TYPE", "digits", "DATASET.FRACTION", "0.1", "SOLVER.BATCH_SIZE", str(BATCH), "CRD.NCE.K", "8"]
PAIR = ["DISTILLER.TEACHER", "resnet14", "DISTILLER.STUDENT", "resnet8"]
OPTIONS = [*SMALL, *PAIR]


def made(method: str) -> tuple[nn.Module, data.Loaded]:
    """A method on untrained networks, and images that leave one over."""
    trainer = "crd" if method == "CRD" else "base"
    cfg = configure(None, [*OPTIONS, "DISTILLER.TYPE", method, "SOLVER.TRAINER", trainer])
    loaded = data.load(cfg, 0, CPU)
    assert loaded.num_data % BATCH == 1
    models = register(verbose=False).host.cifar_model_dict
    torch.manual_seed(0)
    teacher, student = (resolve.build(models, name, cfg, 10) for name in ("resnet14", "resnet8"))
    distiller = base.adopt(register(verbose=False).host.distiller_dict[method])
    return base.build(distiller, student, teacher, cfg, loaded.num_data), loaded


def normalises(method: str) -> bool:
    modules = made(method)[0].named_modules()
    extras = [module for name, module in modules if name.split(".")[0] not in ("student", "teacher", "_frozen")]
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in extras)


def test_methods_with_batch_norms_of_their_own_train_on_images_that_leave_one_over():
    methods = [m for m in register(verbose=False).host.distiller_dict if m not in ("NONE", "ICC") and normalises(m)]
    assert {"FITNET", "OFD", "PCKD", "REVIEWKD"} <= set(methods)
    for method in methods:
        distiller, loaded = made(method)
        distiller.attach(loaded.train)
        distiller.train()
        sizes = []
        for image, target, index, *_ in loaded.train:
            _, losses = distiller.forward_train(image=image, target=target, index=index, epoch=1)
            sum(losses.values()).backward()
            sizes.append(len(image))
        assert sizes == [*[BATCH] * (len(sizes) - 1), BATCH + 1] and sum(sizes) == loaded.num_data, method
        gradients = [p.grad for p in distiller.get_learnable_parameters() if p.grad is not None]
        assert gradients and all(gradient.isfinite().all() for gradient in gradients), method


@pytest.mark.parametrize(
    ("count", "size", "wanted"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (5, 4, [5]), (1, 4, [1]), (3, 4, [3]), (3, 1, [1, 1, 1])],
)
def test_what_is_left_over_joins_the_batch_before_it_only_if_it_is_one_image(count, size, wanted):
    assert batch_sizes(count, size) == wanted


@pytest.mark.parametrize("loader", ["resident", "workers"])
def test_both_loaders_yield_every_image_once(loader):
    loaded = data.load(configure(None, [*OPTIONS, "DATASET.LOADER", loader, "DATASET.NUM_WORKERS", "1"]), 0, CPU)
    batches = list(loaded.train)
    assert [len(image) for image, *_ in batches] == [BATCH] * (len(batches) - 1) + [BATCH + 1]
    assert len(batches) == len(loaded.train)
    index = torch.cat([index for _, _, index in batches])
    assert torch.equal(index.sort().values, torch.arange(loaded.num_data))


class Interrupted(Silent):
    """A person who presses Ctrl-C when the first epoch is over."""

    def epoch(self, metrics):
        raise KeyboardInterrupt


def test_a_run_of_reviewkd_is_resumed_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher = [
        *SMALL,
        "DISTILLER.TYPE",
        "NONE",
        "DISTILLER.STUDENT",
        "resnet8",
        "SOLVER.EPOCHS",
        "4",
        "SOLVER.BATCH_SIZE",
        "10",
    ]
    run(configure(None, [*teacher, "EXPERIMENT.NAME", "t"]), "teacher", device="cpu", progress=Silent())
    options = [*SMALL, "DISTILLER.TYPE", "REVIEWKD", "DISTILLER.TEACHER", "resnet8_vanilla"]
    options += ["DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "2", "EXPERIMENT.NAME"]
    run(configure(None, [*options, "whole"]), "student", device="cpu", progress=Silent())
    cfg = configure(None, [*options, "resumed"])
    with pytest.raises(KeyboardInterrupt):
        run(cfg, "student", device="cpu", progress=Interrupted())
    record = run(cfg, "student", device="cpu", progress=Silent(), resume=True)
    assert record["status"] == "finished" and record["num_train"] % BATCH == 1
    whole, resumed = (checkpoint.read(f"output/distill/{name}/latest") for name in ("whole", "resumed"))
    assert whole["model"].keys() == resumed["model"].keys()
    assert all(torch.equal(value, resumed["model"][key]) for key, value in whole["model"].items())


def test_batches_of_one_image_are_refused_by_the_method_that_cannot_have_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = configure(None, [*OPTIONS, "DISTILLER.TYPE", "REVIEWKD", "SOLVER.BATCH_SIZE", "1"])
    with pytest.raises(UserError, match="SOLVER.BATCH_SIZE must be at least 2 for REVIEWKD"):
        run(cfg, "student", device="cpu")
    assert list(tmp_path.iterdir()) == []
