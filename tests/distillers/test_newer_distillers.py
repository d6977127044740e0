"""The methods that came after mdistiller's: published defaults, what each has of its own, standardised logits."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.builtin.distillers import distiller_dict as builtin
from mdistiller_icc.distillers.base import Distiller, Hooks
from mdistiller_icc.distillers.last_map import LastMap, outputs
from mdistiller_icc.distillers.methods import distiller_dict
from mdistiller_icc.distillers.sum import sum_of
from mdistiller_icc.distillers.wkd import fall
from mdistiller_icc.errors import UserError
from mdistiller_icc.features import with_features
from mdistiller_icc.losses.catkd import catkd_loss
from mdistiller_icc.losses.ckd import ckd_loss
from mdistiller_icc.losses.crld import crld_loss
from mdistiller_icc.losses.dist import dist_loss
from mdistiller_icc.losses.dkd import dkd_loss
from mdistiller_icc.losses.dtkd import dtkd_loss
from mdistiller_icc.losses.gdkd import gdkd_loss
from mdistiller_icc.losses.icckd import soft_cross_entropy
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.mlkd import batch_alignment_loss, class_alignment_loss, instance_alignment_loss, selection
from mdistiller_icc.losses.nkd import nkd_loss, target_loss
from mdistiller_icc.losses.normkd import normkd_loss
from mdistiller_icc.losses.rld import rld_loss
from mdistiller_icc.losses.standardise import standardise
from mdistiller_icc.losses.ttm import ttm_loss
from mdistiller_icc.losses.wkd import class_cost, linear_cka, wkd_loss
from mdistiller_icc.plugin import register
from mdistiller_icc.run import check, configure

METHODS = {**builtin, **distiller_dict}
CLASSES = 10
TARGET = torch.tensor([1, 2, 2, 9])
STEPS = (4.0, 3.0, 5.0, 2.0, 6.0)


@pytest.fixture(params=["mdistiller_icc.builtin", "mdistiller"], ids=["builtin", "mdistiller"])
def models(request: pytest.FixtureRequest) -> Any:
    """The CIFAR networks of the built-in host, and of the real one wherever it can be imported."""
    pytest.importorskip(request.param)
    return importlib.import_module(f"{request.param}.models").cifar_model_dict


def network(name: str, seed: int = 0) -> nn.Module:
    from mdistiller_icc.builtin.models import cifar_model_dict

    torch.manual_seed(seed)
    return cifar_model_dict[name][0](num_classes=CLASSES)


def image(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def build(method: str, student: nn.Module, teacher: nn.Module, *settings: Any, standardised: bool = False) -> Distiller:
    """``build("DIST", student, teacher, "BETA", 1.0)``, of 240 epochs."""
    node = METHODS[method].defaults()
    node.merge_from_list(list(settings))
    cfg = {method: node, "DATASET": {"TYPE": "cifar100"}, "DISTILLER": {"LOGIT_STAND": standardised}}
    return METHODS[method](student, teacher, CfgNode({**cfg, "SOLVER": {"EPOCHS": 240}}))


class Logits(NamedTuple):
    """Of student and teacher for the weak and the strong view, and what the cost of transport is made of."""

    s: Tensor
    t: Tensor
    s2: Tensor
    t2: Tensor
    rows: Tensor


def kd(s: Tensor, t: Tensor) -> Tensor:
    return kd_loss(s, t, 4.0)


def mlkd(x: Logits, f: Callable[[Tensor], Tensor]) -> Tensor:
    images, classes = selection(x.t)
    weak = instance_alignment_loss(f(x.s), f(x.t), STEPS, images)
    weak = weak + class_alignment_loss(x.s, x.t, STEPS, classes) + batch_alignment_loss(x.s, x.t, STEPS, images)
    strong = instance_alignment_loss(f(x.s2), f(x.t2), STEPS[:3])
    return 0.9 * (weak + strong + instance_alignment_loss(f(x.s), f(x.t), STEPS[3:]))


def wkd(x: Logits, f: Callable[[Tensor], Tensor]) -> Tensor:
    rows = F.normalize(x.rows, dim=1)
    moved = wkd_loss(f(x.s), f(x.t), TARGET, class_cost(rows @ rows.T, 1.0), 8.0)
    return target_loss(f(x.s), f(x.t), TARGET) + 600 * moved


Y = TARGET
# Each with the weight of cross-entropy, and its loss past the warm-up where f is applied to the logits.
EXPECTED: dict[str, tuple[float, Callable[[Logits, Callable[[Tensor], Tensor]], Tensor]]] = {
    "KD": (0.1, lambda x, f: 0.9 * kd(f(x.s), f(x.t))),
    "DKD": (1.0, lambda x, f: dkd_loss(f(x.s), f(x.t), Y, 1.0, 8.0, 4.0)),
    "ICCKD": (0.1, lambda x, f: 0.9 * soft_cross_entropy(f(x.s), f(x.t), 4.0)),
    "CKD": (1.0, lambda x, f: 10 * ckd_loss(f(x.s), f(x.t), 1.0)),
    "DIST": (1.0, lambda x, f: dist_loss(f(x.s), f(x.t), 4.0, 2.0, 2.0)),
    "CTKD": (0.1, lambda x, f: 0.9 * kd_loss(f(x.s), f(x.t), 1 + 20 / (1 + torch.exp(torch.tensor(-1.0))))),
    "MLKD": (0.1, mlkd),
    "TTM": (1.0, lambda x, f: 45 * ttm_loss(f(x.s), f(x.t), 0.1)),
    "WTTM": (1.0, lambda x, f: 4 * ttm_loss(f(x.s), f(x.t), 0.2, weighted=True)),
    "NKD": (1.0, lambda x, f: nkd_loss(f(x.s), f(x.t), Y, 3.5, 3.0)),
    "RLD": (1.0, lambda x, f: rld_loss(f(x.s), f(x.t), Y, 1.0, 8.0, 4.0, 1.0)),
    "CRLD": (1.0, lambda x, f: crld_loss(f(x.s), f(x.s2), f(x.t), f(x.t2), 4.0, 2.0, 0.5, 0.9, 0.2)),
    "DTKD": (1.0, lambda x, f: 3 * dtkd_loss(f(x.s), f(x.t), 4.0) + kd(f(x.s), f(x.t))),
    "GDKD": (1.0, lambda x, f: gdkd_loss(f(x.s), f(x.t), 5, 1.0, 2.0, 8.0, 4.0)),
    "NORMKD": (0.1, lambda x, f: 0.9 * normkd_loss(f(x.s), f(x.t), 2.0)),
    "WKD": (1.0, wkd),
}


@pytest.mark.parametrize("standardised", [False, True], ids=["as they are", "standardised"])
@pytest.mark.parametrize("method", EXPECTED)
def test_the_loss_is_the_published_sum_of_logits_as_they_are_or_standardised(method: str, standardised: bool) -> None:
    student, teacher = network("resnet8").eval(), network("resnet14", 1).eval()
    weak, strong = image(), image(1)
    model = build(method, student, teacher, standardised=standardised).eval()
    with torch.no_grad():
        logits, losses = model.forward_train(image=weak, strong=strong, target=TARGET, epoch=30)
        x = Logits(*(net(view)[0] for view in (weak, strong) for net in (student, teacher)), teacher.fc.weight)
        ce_weight, expected = EXPECTED[method]
        ce = F.cross_entropy(x.s, TARGET)
        if method in ("MLKD", "CRLD"):
            ce = ce + F.cross_entropy(x.s2, TARGET)
        found = expected(x, standardise if standardised else lambda logits: logits)
    assert torch.equal(logits, x.s)
    # To the last bit: a setting that is off must not be there at all. The teacher's batch norms are folded.
    torch.testing.assert_close(losses["loss_ce"], ce_weight * ce, rtol=0, atol=0)
    torch.testing.assert_close(losses["loss_kd"], found, rtol=1e-4, atol=1e-6)


def test_every_method_that_compares_logits_takes_standardised_ones() -> None:
    able = {name for name, method in METHODS.items() if method.takes_standardised}
    assert able == {*EXPECTED, "PCKD", "SDD", "KDPP"}


@pytest.mark.parametrize("method", ["PCKD", "SDD", "KDPP"])
def test_standardised_logits_change_the_part_of_logits_alone(method: str) -> None:
    teacher, weak = network("resnet14", 1), image()
    found = []
    for standardised in (False, True):
        torch.manual_seed(3)
        model = build(method, network("resnet8"), teacher, standardised=standardised).eval()
        found.append(model.forward_train(image=weak, target=TARGET, epoch=30)[1])
    assert torch.equal(found[0]["loss_ce"], found[1]["loss_ce"])
    assert not torch.isclose(found[0]["loss_kd"], found[1]["loss_kd"], rtol=1e-3)


def options(method: str, *more: str) -> list[str]:
    return ["DATASET.TYPE", "digits", "DISTILLER.STUDENT", "resnet8", "DISTILLER.TEACHER", "resnet14",
            "DISTILLER.TYPE", method, "DISTILLER.LOGIT_STAND", "True", *more]  # fmt: skip


def test_a_method_that_takes_no_standardised_logits_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(configure(None, options("ICCKD"))).distiller is distiller_dict["ICCKD"]
    refused = "LOGIT_STAND: {} of this host takes no standardised logits; .*ICCKD"
    for method in ("AT", "SIMKD", "BICKD", "NONE"):
        with pytest.raises(UserError, match=refused.format(method)):
            check(configure(None, options(method)))

    class Theirs(nn.Module):
        """A host's own, such as mdistiller's."""

        def __init__(self, student, teacher, cfg):
            super().__init__()

    monkeypatch.setitem(register(verbose=False).host.distiller_dict, "KD", Theirs)
    with pytest.raises(UserError, match=refused.format("KD")):
        check(configure(None, options("KD")))


def test_warmed_up_losses_set_in() -> None:
    model = build("RLD", network("resnet8"), network("resnet14", 1)).eval()
    losses = [model.forward_train(image=image(), target=TARGET, epoch=epoch)[1]["loss_kd"] for epoch in (5, 20, 21)]
    torch.testing.assert_close(losses[0], losses[1] / 4)
    assert torch.equal(losses[1], losses[2]) and model.settled == 20


def test_ctkds_temperature_is_trained_against_the_student_and_kept() -> None:
    model = build("CTKD", network("resnet8"), network("resnet14", 1))
    assert model.get_extra_parameters() == 1 and any(p is model.theta for p in model.get_learnable_parameters())
    model.train().forward_train(image=image(), target=TARGET, epoch=10)[1]["loss_kd"].backward()
    reversed_gradient, model.theta.grad = model.theta.grad.clone(), None
    half = build("CTKD", network("resnet8"), network("resnet14", 1)).train()
    half.forward_train(image=image(), target=TARGET, epoch=5)[1]["loss_kd"].backward()
    torch.testing.assert_close(half.theta.grad, reversed_gradient / 2)
    with torch.no_grad():
        model.theta -= 1
    other = build("CTKD", network("resnet8"), network("resnet14", 1))
    other.load_state_dict(model.state_dict())
    assert other.diagnostics() == model.diagnostics() == {"ctkd_temperature": pytest.approx(1 + 20 * 0.5)}


def test_mlkd_without_a_strong_view_is_its_first_line() -> None:
    student, teacher = network("resnet8").eval(), network("resnet14", 1).eval()
    model = build("MLKD", student, teacher, "PER_SAMPLE", True, "STRONG_VIEW", False).eval()
    losses = model.forward_train(image=image(), strong=image(1), target=TARGET)[1]
    s, t = student(image())[0], teacher(image())[0]
    images, classes = selection(t, per_sample=True)
    expected = instance_alignment_loss(s, t, STEPS, images) + class_alignment_loss(s, t, STEPS, classes)
    expected = 0.9 * (expected + batch_alignment_loss(s, t, STEPS, images))
    torch.testing.assert_close(losses["loss_kd"], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses["loss_ce"], 0.1 * F.cross_entropy(s, TARGET))


@pytest.mark.parametrize("method", ["CRLD", "MLKD"])
def test_two_views_are_wanted_where_they_are_learnt_from(method: str) -> None:
    with pytest.raises(UserError, match=f"{method} learns from two views of each image, a weak and a strong one"):
        build(method, network("resnet8"), network("resnet14")).forward_train(image=image(), target=TARGET)


def test_a_sum_wants_the_strong_view_of_its_methods() -> None:
    cfg = configure(None)
    for methods, view in (("DKD CRD", None), ("CRLD CRD", "randaugment-10"), ("DKD MLKD", "randaugment+cutout")):
        assert sum_of({name: METHODS[name] for name in methods.split()}).strong_view(cfg) == view
    with pytest.raises(UserError, match=r"DISTILLER.TYPE CRLD\+MLKD: .* CRLD wants randaugment-10, MLKD wants randau"):
        check(configure(None, ["DISTILLER.TYPE", "CRLD+MLKD", "DISTILLER.TEACHER", "resnet56"]))
    both = ["DISTILLER.TYPE", "CRLD+MLKD", "DISTILLER.TEACHER", "resnet56", "MLKD.STRONG_VIEW", "False"]
    assert check(configure(None, both)).strong == "randaugment-10"


def test_simkd_predicts_with_the_teachers_classifier_in_training_and_after() -> None:
    student, teacher = network("resnet8"), network("resnet8x4", 1)
    model = build("SIMKD", student, teacher)
    narrow = 256 // 2
    expected = 64 * narrow + 9 * narrow**2 + narrow * 256 + 2 * (2 * narrow + 256)
    assert model.get_extra_parameters() == expected
    assert all(not p.requires_grad for p in student.fc.parameters())
    model.eval()
    feature = model.project(student(image())[1]["feats"][-1])
    logits = teacher.fc(feature.mean((2, 3)))
    torch.testing.assert_close(model(image=image()), logits)
    found, losses = model.forward_train(image=image(), target=TARGET)
    torch.testing.assert_close(found, logits)
    torch.testing.assert_close(losses["loss_kd"], F.mse_loss(feature, teacher.eval()(image())[1]["feats"][-1]))
    assert losses["loss_ce"] == 0


def test_catkds_maps_average_to_the_students_own_logits() -> None:
    student, teacher = network("wrn_16_1"), network("resnet14", 1)
    nn.init.ones_(student.fc.bias)
    model = build("CATKD", student, teacher, "RESOLUTION", 4, "NORMALISE", True).eval()
    logits, losses = model.forward_train(image=image(), target=TARGET)
    torch.testing.assert_close(logits, student(image())[0])
    maps = []
    for net in (student, teacher.eval()):
        feature = net(image())[1]["preact_feats"][-1].relu()
        maps.append(torch.einsum("cd,bdhw->bchw", net.fc.weight, feature))
    torch.testing.assert_close(maps[0].mean((2, 3)), logits)
    torch.testing.assert_close(losses["loss_kd"], 15 * catkd_loss(*maps, 4, True), rtol=1e-4, atol=1e-6)
    assert not student.fc.bias.any() and not student.fc.bias.requires_grad


@pytest.mark.parametrize(("base", "ce_weight"), [("KD", 0.1), ("DKD", 1.0), ("NKD", 1.0)])
def test_sdds_loss_is_its_bases_on_every_cell(base: str, ce_weight: float) -> None:
    student, teacher = network("resnet8"), network("resnet14", 1)
    model = build("SDD", student, teacher, "BASE", base, "SCALES", [1, 2]).eval()
    logits, losses = model.forward_train(image=image(), target=TARGET, epoch=30)
    torch.testing.assert_close(losses["loss_ce"], ce_weight * F.cross_entropy(logits, TARGET))
    cells = []
    for net in (student, teacher.eval()):
        feature = net(image())[1]["feats"][-1]
        quarters = [feature[:, :, i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)]
        cells.append([net.fc(cell.mean((2, 3))) for cell in (feature, *quarters)])
    right = [cell.argmax(1) == TARGET for cell in cells[1]]
    found = torch.zeros(())
    for s, t, hit in zip(*cells, right, strict=True):
        for b in range(4):
            one = slice(b, b + 1)
            each = {
                "KD": lambda s=s[one], t=t[one]: 0.9 * kd(s, t),
                "DKD": lambda s=s[one], t=t[one], y=TARGET[one]: dkd_loss(s, t, y, 1.0, 8.0, 4.0),
                "NKD": lambda s=s[one], t=t[one], y=TARGET[one]: nkd_loss(s, t, y, 8.0, 4.0),
            }[base]()
            found = found + (2 if hit[b] != right[0][b] else 1) * each / 20
    torch.testing.assert_close(losses["loss_kd"], found, rtol=1e-4, atol=1e-6)


def test_kdpp_points_to_the_means_of_the_whole_loader_or_of_what_was_seen() -> None:
    student, teacher = network("resnet8"), network("resnet8x4", 1)
    model = build("KDPP", student, teacher).eval()
    assert model.get_extra_parameters() == 64 * 256 + 256
    batches = [(image(seed), TARGET.roll(seed)) for seed in range(3)]
    features = torch.cat([teacher(view)[1]["pooled_feat"] for view, _ in batches]).detach()
    labels = torch.cat([label for _, label in batches])
    means = torch.stack([features[labels == c].mean(0) if (labels == c).any() else torch.zeros(256) for c in range(10)])

    def nd() -> Tensor:
        kl = 3.5 * kd(student(image())[0], teacher(image())[0])
        return (model.forward_train(image=image(), target=TARGET, epoch=30)[1]["loss_kd"] - kl) / 2

    model.attach(batches)
    sums = model.sums.clone()
    e_s, e_t = model.embed(student(image())[1]["pooled_feat"]), features[:4]
    along = (e_s * F.normalize(means[TARGET], dim=1)).sum(1) / torch.maximum(e_s.norm(dim=1), e_t.norm(dim=1))
    torch.testing.assert_close(nd(), (1 - along).mean(), rtol=1e-3, atol=1e-4)
    assert torch.equal(model.sums, sums)
    unseen = build("KDPP", student, teacher).eval()
    unseen.forward_train(image=image(), target=TARGET)
    torch.testing.assert_close(unseen.sums[2], features[1:3].sum(0), rtol=1e-3, atol=1e-4)


def test_wkds_transport_fades_out_at_the_end() -> None:
    student, teacher = network("resnet8"), network("resnet14", 1)
    model = build("WKD", student, teacher).eval()
    last = model.forward_train(image=image(), target=TARGET, epoch=240)[1]["loss_kd"]
    with torch.no_grad():
        torch.testing.assert_close(last, target_loss(student(image())[0], teacher.eval()(image())[0], TARGET))
    assert model.settled is None and build("WKD", student, teacher, "DECAY_FROM", 240).settled == 1
    assert fall(240, 300, 240) == 1.0
    assert "cost" not in model.state_dict()


def test_wkds_costs_are_those_of_the_first_images_of_every_class() -> None:
    student, teacher = network("resnet8"), network("resnet14", 1).eval()
    labels = torch.arange(CLASSES)
    batches = [(torch.cat([image(2 * b), image(2 * b + 1), image(7 + b)[:2]]), labels.roll(b)) for b in range(3)]
    model = build("WKD", student, teacher, "IMAGES", 2).eval()
    before = model.cost.clone()
    model.attach(batches)
    with torch.no_grad():
        maps = [teacher(images)[1]["feats"][-1][target.argsort()] for images, target in batches]
    features = torch.cat([m.flatten(2).transpose(1, 2) for m in maps[:2]], dim=1)
    torch.testing.assert_close(model.cost, class_cost(linear_cka(features), 1.0), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(model.cost, before)
    every = build("WKD", student, teacher).eval()
    every.attach(batches)  # three images of each class, of the hundred that it would take
    assert not torch.allclose(every.cost, model.cost)
    by_logits = build("WKD", student, teacher, "COST", "logits").eval()
    by_logits.attach(batches)
    with torch.no_grad():
        logits = torch.stack([teacher(images)[0][target.argsort()] for images, target in batches], dim=1)
    torch.testing.assert_close(by_logits.cost, class_cost(linear_cka(logits), 1.0), rtol=1e-3, atol=1e-4)
    cosine = build("WKD", student, teacher, "COST", "classifier")
    cosine.attach(batches)
    assert torch.equal(cosine.cost, before)
    with pytest.raises(UserError, match="WKD.IMAGES 100000 takes .* GiB of memory"):
        maps = with_features(nn.Sequential(nn.Conv2d(3, 512, 1), nn.Flatten(), nn.Linear(512 * 1024, 10)), stages=["0"])
        build("WKD", student, maps, "IMAGES", 100_000).attach(batches)
    with pytest.raises(UserError, match="no training image of class 9; WKD.COST classifier"):
        build("WKD", student, teacher).attach([(images[:9], labels[:9]) for images, _ in batches])


def test_settings_that_do_not_fit_together() -> None:
    student, teacher = network("resnet8"), network("resnet14")
    with pytest.raises(UserError, match="GDKD.K must be below the number of classes, 10, not 10"):
        build("GDKD", student, teacher, "K", 10)
    for scales in ("[2, 4]", "[1, 4, 2]", "[1, 1]"):
        with pytest.raises(UserError, match="SDD.SCALES wants numbers that rise from 1"):
            check(configure(None, [*options("SDD"), "SDD.SCALES", scales]))
    for key, value in {
        "TTM.GAMMA": "0",
        "SDD.BASE": "CKD",
        "CRLD.CROSS_THRESHOLD": "1.5",
        "WKD.ITERATIONS": "0",
    }.items():
        with pytest.raises(UserError, match=key):
            check(configure(None, [*options(key.partition(".")[0]), key, value]))


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV1", "ShuffleV2", "ResNet18"])
def test_the_last_map_averages_to_the_pooled_feature(models: Any, name: str) -> None:
    net = models[name][0](num_classes=CLASSES)
    logits, features, feature = LastMap(net, CfgNode({"DATASET": {"TYPE": "cifar100"}}), "student").run(net, image())
    assert logits.shape == (4, CLASSES) and feature.shape[2] > 1
    torch.testing.assert_close(feature.mean((2, 3)), features["pooled_feat"].flatten(1), rtol=1e-4, atol=1e-5)
    assert not any(part._forward_hooks for part in net.modules())


def test_replicas_of_dataparallel_do_not_see_each_others_maps() -> None:
    layer = torch.nn.ReLU()
    nets = [torch.nn.Sequential(layer._replicate_for_data_parallel()) for _ in range(2)]
    with outputs(nets[0], ["0"]) as first, outputs(nets[1], ["0"]) as second:
        for net, value in zip(nets, (1.0, 2.0), strict=True):
            net(torch.tensor(value))
    assert (first, second) == ({"0": 1.0}, {"0": 2.0})


def test_a_teacher_that_does_not_return_its_last_map_is_refused() -> None:
    with pytest.raises(UserError, match="the teacher ShuffleNetV2 has no feature map whose average its classifier"):
        build("SIMKD", network("resnet8"), network("ShuffleV2"))


NEWER = [name for name in distiller_dict if name not in ("ICCKD", "CKD", "BICKD", "PCKD")]
OF_FEATURES = [(name, "MobileNetV2 vgg13") for name in ("SDD", "SIMKD", "CATKD", "KDPP")]


@pytest.mark.parametrize("method, pair", [*((name, "resnet8 resnet14") for name in NEWER), *OF_FEATURES])
def test_fits_a_pair_of_either_host(models: Any, method: str, pair: str) -> None:
    torch.manual_seed(0)
    student, teacher = (models[name][0](num_classes=CLASSES) for name in pair.split())
    model = build(method, student, teacher).train()
    logits, losses = model(image=image(), strong=image(1), target=TARGET, epoch=3)
    sum(losses.values()).backward()
    assert logits.shape == (4, CLASSES) and isinstance(model, Hooks)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.get_learnable_parameters())
