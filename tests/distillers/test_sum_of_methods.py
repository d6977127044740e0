"""Sums of methods: their losses are the methods' own, and each network sees a batch once."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.distillers.base import build
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import check, configure, run
from mdistiller_icc.tables.records import read

IMAGES = 40
BATCH = {
    "image": torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
    "target": torch.tensor([1, 2, 2, 9]),
    "index": torch.arange(4),
    "contrastive_index": torch.arange(4)[:, None] + torch.arange(9),
}


@pytest.fixture(autouse=True)
def builtin(monkeypatch):
    if register(verbose=False).host.name != "builtin":
        pytest.skip("the parts of a sum are our methods")


def config(method, *options):
    given = [
        "DATASET.TYPE",
        "digits",
        "DISTILLER.STUDENT",
        "resnet8",
        "DISTILLER.TEACHER",
        "resnet14",
        "CRD.NCE.K",
        "8",
    ]
    return configure(None, [*given, "DISTILLER.TYPE", method, *options])


def made(method, *options, student="resnet8", seed=0):
    """The method, with the same weights for the same seed."""
    cfg = config(method, *options)
    torch.manual_seed(seed)
    networks = [cifar_model_dict[name][0](num_classes=10) for name in (student, "resnet14")]
    torch.manual_seed(1)
    return build(check(cfg).distiller, *networks, cfg, IMAGES).train()


@pytest.mark.parametrize("method", ["DKD+CRD", "WTTM+CRD", "KD+AT", "DIST+SDD+KDPP"])
def test_the_losses_are_the_methods_own(method):
    model = made(method)
    expected = []
    for name, part in model.parts.items():
        alone = made(name)
        for ours, theirs in zip(alone.student.parameters(), model.student.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        alone.load_state_dict(alone.state_dict() | part.state_dict())
        expected.append(alone.forward_train(**BATCH, epoch=3)[1])
    logits, losses = model(**BATCH, epoch=3)
    assert logits.shape == (4, 10) and list(losses) == ["loss_ce", "loss_kd"]
    torch.testing.assert_close(losses["loss_ce"], expected[0]["loss_ce"])
    torch.testing.assert_close(losses["loss_kd"], sum(each["loss_kd"] for each in expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method, student", [
    ("DKD+CRD", "resnet8"), ("DKD+SDD", "ShuffleV2"), ("SDD+CATKD", "MobileNetV2"), ("CATKD+KD+SDD", "MobileNetV2"),
])  # fmt: skip
def test_each_network_computes_a_batch_once(method, student):
    model = made(method, student=student)
    counted = {"student": 0, "teacher": 0}
    for name in counted:
        first = next(part for part in getattr(model, name).modules() if isinstance(part, nn.Conv2d))
        first.register_forward_hook(lambda *_, name=name: counted.update({name: counted[name] + 1}))
    model(**BATCH, epoch=1)
    assert counted == {"student": 1, "teacher": 1}
    model(**BATCH, epoch=1)
    assert counted == {"student": 2, "teacher": 2}, "nothing is recalled in the next step"


def test_a_student_whose_last_map_is_not_returned_can_be_part_of_a_sum():
    model, alone = made("KD+SDD", student="MobileNetV2"), [made(name, student="MobileNetV2") for name in ("KD", "SDD")]
    expected = [each(**BATCH, epoch=3)[1]["loss_kd"] for each in alone]
    torch.testing.assert_close(model(**BATCH, epoch=3)[1]["loss_kd"], sum(expected), rtol=1e-4, atol=1e-5)


def test_what_is_learnt_and_kept_is_everybodys_once():
    model = made("CTKD+CRD")
    kept = {name.partition(".")[0] for name in model.state_dict()}
    assert kept == {"student", "teacher", "parts"}
    assert not any(".student." in name or ".teacher." in name for name in model.state_dict())
    crd = made("CRD")
    assert model.get_extra_parameters() == crd.get_extra_parameters() + 1
    assert any(p is model.parts["CTKD"].theta for p in model.get_learnable_parameters())
    assert model.diagnostics()["ctkd_temperature"] == pytest.approx(15.62, abs=0.01)
    twin = copy.deepcopy(model)
    assert twin.parts["CRD"].student is twin.student is not model.student
    assert not model.teacher.training and model.eval()(image=BATCH["image"]).shape == (4, 10)


def test_what_cannot_be_added_is_told():
    for method, message in {
        "KD+AKD": "no distiller 'AKD'",
        "KD+NONE": "KD\\+NONE: NONE of this host cannot be part of a sum",
        "ICC+KD": "ICC of this host cannot be part of a sum",
        "KD+DKD+KD": "DISTILLER.TYPE KD\\+DKD\\+KD: KD is there 2 times",
        "KD+SIMKD": "SIMKD predicts with another head, so it stands alone",
    }.items():
        with pytest.raises(UserError, match=message):
            check(config(method))
    assert check(config("KD+AT", "DISTILLER.LOGIT_STAND", "True")).distiller.__name__ == "KD+AT"
    with pytest.raises(UserError, match="AT\\+SP of this host takes no standardised logits"):
        check(config("AT+SP", "DISTILLER.LOGIT_STAND", "True"))


def test_a_run_of_a_sum_of_standardised_logits_is_recorded_as_that(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", str(tmp_path / "teachers"))
    short = ["DATASET.FRACTION", "0.2", "SOLVER.EPOCHS", "4", "SOLVER.BATCH_SIZE", "16", "SOLVER.LR_DECAY_STAGES", "[]"]
    teacher = ["DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet8", "EXPERIMENT.NAME", "teacher"]
    run(configure(None, ["DATASET.TYPE", "digits", *teacher, *short]), "teacher", device="cpu")
    options = ["DISTILLER.TEACHER", "resnet8_vanilla", "DISTILLER.LOGIT_STAND", "True", "EXPERIMENT.NAME", "sum"]
    more = ["CTKD.KD_WEIGHT", "9.0", "SOLVER.EPOCHS", "2", *options]
    record = run(config("CTKD+AT", *short, *more), "student", device="cpu")
    assert record["status"] == "finished" and record["method_config"]["LOGIT_STAND"] is True
    assert record["method_config"]["CTKD"]["KD_WEIGHT"] == 9.0 and record["method_config"]["AT"]["P"] == 2.0
    folder = tmp_path / "output/distill/sum"
    assert read(str(folder)).method == "CTKD+AT+LS"
    kept = torch.load(folder / "latest", weights_only=True)["model"]
    assert kept["parts.CTKD.theta"] != 1 and not any(name.startswith("teacher") for name in kept)
    temperatures = [json.loads(line)["ctkd_temperature"] for line in (folder / "metrics.jsonl").open()]
    assert temperatures[-1] == pytest.approx(1 + 20 * torch.sigmoid(kept["parts.CTKD.theta"]).item(), abs=1e-4)
    again = config("CTKD+AT", *short, *more, "SOLVER.EPOCHS", "2")
    assert run(again, "student", device="cpu", resume=True)["epoch"] == 2
