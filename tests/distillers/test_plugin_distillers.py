"""The plugin's methods: mdistiller's contract, every published pair, autocast, and that each one learns."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from yacs.config import CfgNode

from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.methods import distiller_dict
from mdistiller_icc.distillers.pckd import rotated
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.bickd import class_contrastive_loss, sample_contrastive_loss
from mdistiller_icc.losses.ckd import ckd_loss
from mdistiller_icc.losses.icckd import soft_cross_entropy
from mdistiller_icc.losses.kd import kd_loss
from mdistiller_icc.losses.pckd import feature_alignment_loss

CIFAR_PAIRS = [
    "wrn_40_2 wrn_16_2",
    "wrn_40_2 wrn_40_1",
    "resnet56 resnet20",
    "resnet110 resnet20",
    "resnet110 resnet32",
    "resnet32x4 resnet8x4",
    "vgg13 vgg8",
    "vgg13 MobileNetV2",
    "ResNet50 MobileNetV2",
    "ResNet50 vgg8",
    "resnet32x4 ShuffleV1",
    "resnet32x4 ShuffleV2",
    "wrn_40_2 ShuffleV1",
]
TINY_PAIRS = ["ResNet18 MobileNetV2", "ResNet18 ShuffleV2"]
IMAGENET_PAIRS = ["ResNet34 ResNet18", "ResNet50 MobileNetV1"]


@pytest.fixture(params=["mdistiller_icc.builtin", "mdistiller"], ids=["builtin", "mdistiller"])
def host(request: pytest.FixtureRequest) -> Any:
    """The model registries of the built-in host, and of the real one wherever it can be imported."""
    pytest.importorskip(request.param)
    return importlib.import_module(f"{request.param}.models")


def small_pair(num_classes: int = 10) -> tuple[nn.Module, nn.Module]:
    from mdistiller_icc.builtin.models import cifar_model_dict

    torch.manual_seed(0)
    return cifar_model_dict["resnet8"][0](num_classes=num_classes), cifar_model_dict["resnet14"][0](
        num_classes=num_classes
    )


def config(method: str, node: CfgNode, standardised: bool = False) -> CfgNode:
    return CfgNode({method: node, "DATASET": {"TYPE": "cifar100"}, "DISTILLER": {"LOGIT_STAND": standardised}})


def build(method: str, student: nn.Module, teacher: nn.Module, **settings: Any) -> Distiller:
    node = distiller_dict[method].defaults()
    node.merge_from_list([x for key, value in settings.items() for x in (key.replace("__", "."), value)])
    return distiller_dict[method](student, teacher, config(method, node))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """Eight of scikit-learn's handwritten digits, 0 to 7, as (8, 3, 32, 32) images, and their labels."""
    bundled = load_digits()
    image = torch.tensor(bundled.images[:8], dtype=torch.float32).unsqueeze(1) / 8 - 1
    image = F.interpolate(image, 32, mode="bilinear").expand(-1, 3, -1, -1).contiguous()
    return image, torch.tensor(bundled.target[:8])


@pytest.fixture(scope="module")
def trained_teacher(digits: tuple[Tensor, Tensor]) -> nn.Module:
    """A resnet14 that knows these eight digits, in eval mode too."""
    _student, teacher = small_pair()
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # its statistics settle within the few steps
    optimizer = torch.optim.Adam(teacher.parameters(), lr=0.01)
    for _step in range(30):
        optimizer.zero_grad()
        F.cross_entropy(teacher(digits[0])[0], digits[1]).backward()
        optimizer.step()
    teacher.eval()
    assert (teacher(digits[0])[0].argmax(1) == digits[1]).all()
    return teacher


@pytest.mark.parametrize("method", distiller_dict)
def test_overfits_one_batch(method: str, digits: tuple[Tensor, Tensor], trained_teacher: nn.Module) -> None:
    student, _teacher = small_pair()
    milder = {"BETA": 5.0} if method == "TTM" else {}  # so flat a teacher outweighs the label
    model = build(method, student, copy.deepcopy(trained_teacher), **milder).train()
    before = {name: value.clone() for name, value in model.teacher.state_dict().items()}
    optimizer = torch.optim.Adam(model.get_learnable_parameters(), lr=0.01)
    history: list[dict[str, float]] = []
    for step in range(1, 81):
        logits, losses = model(image=digits[0], strong=digits[0].flip(3), target=digits[1], epoch=30)
        history.append({name: loss.item() for name, loss in losses.items()})
        if step > 10 and (logits.argmax(1) == digits[1]).all() and losses["loss_ce"] <= 0.5 * history[0]["loss_ce"]:
            break
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    else:
        pytest.fail(f"not learned in {step} steps: {history[-1]}")
    assert history[-1]["loss_kd"] < history[0]["loss_kd"]
    for name, value in model.teacher.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    "method", [*distiller_dict, *(f"{name}+LS" for name, kind in distiller_dict.items() if kind.takes_standardised)]
)
def test_a_classifier_that_begins_at_zero_survives_its_first_step(
    method: str, digits: tuple[Tensor, Tensor], trained_teacher: nn.Module
) -> None:
    """torchvision's ViTs begin so."""
    student, _teacher = small_pair()
    nn.init.zeros_(student.fc.weight), nn.init.zeros_(student.fc.bias)
    name, standardised, _ = method.partition("+LS")
    node = distiller_dict[name].defaults()
    model = distiller_dict[name](student, copy.deepcopy(trained_teacher), config(name, node, bool(standardised)))
    losses = model.train()(image=digits[0], strong=digits[0].flip(3), target=digits[1], epoch=30)[1]
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.abs().max() < 1e3 for p in model.get_learnable_parameters())


@pytest.mark.parametrize("method", distiller_dict)
def test_keeps_the_contract(method: str) -> None:
    student, teacher = small_pair()
    model = build(method, student, teacher).train()
    logits, losses = model(
        image=torch.randn(4, 3, 32, 32), strong=torch.randn(4, 3, 32, 32), target=torch.tensor([1, 2, 2, 9])
    )
    assert logits.shape == (4, 10) and list(losses) == ["loss_ce", "loss_kd"]
    sum(losses.values()).backward()
    learnable = model.get_learnable_parameters()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learnable)
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    own = sum(p.numel() for p in learnable) - sum(p.numel() for p in student.parameters() if p.requires_grad)
    assert model.get_extra_parameters() == own
    storage = [value.data_ptr() for value in model.state_dict().values()]
    assert len(storage) == len(set(storage)), "a tensor is in the checkpoint twice"
    model.eval()
    assert model(image=torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_extra_parameters_are_those_of_the_heads() -> None:
    student, teacher = small_pair()
    d = 64  # of both resnet8 and resnet14
    mlp = (d + 1) * 16 * d + 2 * 16 * d + (16 * d + 1) * d
    assert build("PCKD", student, teacher).get_extra_parameters() == mlp + 2 * (d + 1) * d
    assert all(build(m, student, teacher).get_extra_parameters() == 0 for m in ("ICCKD", "CKD", "BICKD"))


def assert_pair_fits(teacher: nn.Module, student: nn.Module, size: int, classes: int) -> None:
    """One step of PCKD, the method whose heads depend on the pair (the others see logits alone)."""
    model = build("PCKD", student, teacher, MLP_RATIO=1).train()
    image, target = torch.randn(1, 3, size, size), torch.tensor([classes - 1])
    with torch.no_grad():
        logits, losses = model(image=image, target=target, epoch=1)
    assert logits.shape == (1, classes) and sum(losses.values()).isfinite()


@pytest.mark.parametrize("pair", CIFAR_PAIRS)
def test_every_cifar_pair(host: Any, pair: str) -> None:
    assert_pair_fits(*(host.cifar_model_dict[name][0](num_classes=100) for name in pair.split()), 32, 100)


@pytest.mark.parametrize("pair", TINY_PAIRS)
def test_every_tiny_imagenet_pair(host: Any, pair: str) -> None:
    if host.__name__ == "mdistiller.models" and "ShuffleV2" in pair:
        pytest.skip("mdistiller's ShuffleV2 cannot take 64-pixel images")
    assert_pair_fits(*(host.tiny_imagenet_model_dict[name][0](num_classes=200) for name in pair.split()), 64, 200)


@pytest.mark.parametrize("pair", IMAGENET_PAIRS)
def test_every_imagenet_pair(host: Any, pair: str) -> None:
    assert_pair_fits(*(host.imagenet_model_dict[name](pretrained=False) for name in pair.split()), 224, 1000)


@pytest.mark.parametrize("method", distiller_dict)
def test_autocast_changes_little(method: str, digits: tuple[Tensor, Tensor], trained_teacher: nn.Module) -> None:
    student, _teacher = small_pair()
    model = build(method, student, trained_teacher)
    model.train()
    _logits, exact = copy.deepcopy(model)(image=digits[0], strong=digits[0], target=digits[1], epoch=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _logits, rough = model(image=digits[0], strong=digits[0], target=digits[1], epoch=1)
    sum(rough.values()).backward()
    for name in exact:
        assert rough[name].dtype == torch.float32
        torch.testing.assert_close(rough[name], exact[name], rtol=0.05, atol=0.01)


def test_losses_are_the_published_sums(digits: tuple[Tensor, Tensor], trained_teacher: nn.Module) -> None:
    image, target = digits
    student, _teacher = small_pair()
    student.eval()
    with torch.no_grad():
        s, t = student(image)[0], trained_teacher.eval()(image)[0]
    ce = F.cross_entropy(s, target)

    def losses(method: str, **settings: Any) -> list[Tensor]:
        model = build(method, student, trained_teacher, **settings).eval()
        return [loss.detach() for loss in model.forward_train(image=image, target=target)[1].values()]

    def equal(found: list[Tensor], *expected: Tensor) -> None:
        torch.testing.assert_close(found, list(expected))

    equal(losses("ICCKD", ALPHA=0.3, TEMPERATURE=2.0), 0.3 * ce, 0.7 * soft_cross_entropy(s, t, 2.0))
    equal(losses("CKD", CE_WEIGHT=0.5, CL_WEIGHT=7.0, TEMPERATURE=2.0), 0.5 * ce, 7 * ckd_loss(s, t, 2.0))
    expected = sample_contrastive_loss(s, t, target, 2.0, 0.1, 0.2) + class_contrastive_loss(s, t, 2.0, 0.3, 0.4)
    weights = {f"LOSS__{name}_WEIGHT": w for name, w in zip(("SC_PULL", "SC_PUSH"), (0.1, 0.2), strict=True)}
    weights |= {f"LOSS__{name}_WEIGHT": w for name, w in zip(("CC_PULL", "CC_PUSH"), (0.3, 0.4), strict=True)}
    equal(losses("BICKD", TEMPERATURE=2.0, **weights), ce, expected)
    with_kd = losses("BICKD", TEMPERATURE=2.0, LOSS__KD_WEIGHT=0.5, LOSS__CE_WEIGHT=2.0, **weights)
    equal(with_kd, 2 * ce, expected + 0.5 * kd_loss(s, t, 2.0))


def pckd_alone(
    digits: tuple[Tensor, Tensor], teacher: nn.Module, only: str, epoch: int = 1
) -> tuple[Distiller, Tensor]:
    """A PCKD with every weight 0 but one of 1, and its ``loss_kd``."""
    student, _teacher = small_pair()
    weights = {f"LOSS__{name}_WEIGHT": float(name == only) for name in ("KD", "CC", "CA", "FA")}
    torch.manual_seed(5)
    model = build("PCKD", student, teacher, **weights).eval()
    return model, model.forward_train(image=digits[0], target=digits[1], epoch=epoch)[1]["loss_kd"]


def test_pckd_terms(digits: tuple[Tensor, Tensor], trained_teacher: nn.Module) -> None:
    image, target = digits
    model, loss_fa = pckd_alone(digits, trained_teacher, "FA")
    views = torch.cat([image] + [image.rot90(k, (2, 3)) for k in (1, 2, 3)])
    logits, features = model.student(views)
    teacher_logits, teacher_features = model.teach(views)
    z = features["pooled_feat"]
    torch.testing.assert_close(loss_fa, feature_alignment_loss(model.project(z), teacher_features["pooled_feat"]))

    student_fc, teacher_fc = model.student.fc, model.teacher.fc
    squares = (student_fc.weight - teacher_fc.weight).square().sum()
    squares = squares + (student_fc.bias - teacher_fc.bias).square().sum()
    _model, loss_ca = pckd_alone(digits, trained_teacher, "CA")
    torch.testing.assert_close(loss_ca, squares / (student_fc.weight.numel() + student_fc.bias.numel()))

    each = F.cross_entropy(logits[:8], target, reduction="none")
    gamma = each / each.mean()
    v = torch.where(gamma <= 1.005**7, 1.0, torch.exp(-(gamma**2)))
    assert 0 < (v < 1).sum() < 8
    _model, loss_kd = pckd_alone(digits, trained_teacher, "KD", epoch=7)
    kl = [v[i] * kd_loss(logits[i : i + 1], teacher_logits[i : i + 1], 4.0) for i in range(8)]
    torch.testing.assert_close(loss_kd, sum(kl) / 8)

    model, loss_cc = pckd_alone(digits, trained_teacher, "CC", epoch=7)
    own = F.normalize(model.embed_student(z), dim=1) @ student_fc.weight.T
    others = F.normalize(model.embed_teacher(z), dim=1) @ teacher_fc.weight.T
    r, y, w = torch.cat([own, others]), target.repeat(8), v.repeat(8)
    logit = (r @ r.T / 4).fill_diagonal_(-torch.inf)
    share = logit.log_softmax(1)
    alike = (y[:, None] == y[None, :]).fill_diagonal_(False)
    per_vector = torch.stack([share[i][alike[i]].mean() for i in range(len(r))])
    torch.testing.assert_close(loss_cc, -(4 / 0.07) * (w * per_vector).sum() / 32)  # the views, not the vectors


def test_pckd_leaves_center_alignment_out_where_shapes_differ() -> None:
    student = importlib.import_module("mdistiller_icc.builtin.models").cifar_model_dict["resnet8x4"][0](num_classes=10)
    _student, teacher = small_pair()
    image, target = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    weights = {"LOSS__KD_WEIGHT": 0.0, "LOSS__CC_WEIGHT": 0.0, "LOSS__FA_WEIGHT": 0.0, "LOSS__CA_WEIGHT": 5.0}
    assert build("PCKD", student, teacher, **weights).forward_train(image, target)[1]["loss_kd"] == 0


def test_views_are_turns_of_each_image_with_the_upright_ones_first() -> None:
    image = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    views = rotated(image)
    assert views.shape == (8, 3, 4, 4)
    torch.testing.assert_close(views[:2], image)
    torch.testing.assert_close(views[4:6], image.flip(2, 3))
    torch.testing.assert_close(views[2:4].rot90(-1, (2, 3)), image)


def test_user_mistakes_are_told_in_one_line() -> None:
    student, _teacher = small_pair()
    with pytest.raises(UserError, match="must be square; these are 32×48"):
        rotated(torch.zeros(1, 3, 32, 48))
    with pytest.raises(UserError, match="the student has 10 classes, the teacher 100"):
        build("PCKD", student, small_pair(num_classes=100)[1])


@pytest.mark.parametrize(("temperature", "alpha"), [(4.0, 0.1), (1.0, 0.5)], ids=["CIFAR-100's", "ImageNet's"])
def test_from_one_teacher_icckds_gradient_is_kds(
    digits: tuple[Tensor, Tensor], trained_teacher: nn.Module, temperature: float, alpha: float
) -> None:
    from mdistiller_icc.builtin.distillers import distiller_dict as builtin

    student = small_pair()[0].double()
    teacher = copy.deepcopy(trained_teacher).double()
    node = builtin["KD"].defaults()
    node.merge_from_list(["TEMPERATURE", temperature, "LOSS.CE_WEIGHT", alpha, "LOSS.KD_WEIGHT", 1 - alpha])
    methods = {
        "KD": builtin["KD"](student, teacher, CfgNode({"KD": node})),
        "ICCKD": build("ICCKD", student, teacher, TEMPERATURE=temperature, ALPHA=alpha),
    }
    loss, gradient = {}, {}
    for name, model in methods.items():
        _logits, losses = model.eval().forward_train(image=digits[0].double(), target=digits[1], epoch=1)
        loss[name] = sum(losses.values())
        gradient[name] = torch.autograd.grad(loss[name], list(student.parameters()))
    assert loss["ICCKD"] > loss["KD"], "by the teacher's entropy"
    torch.testing.assert_close(gradient["ICCKD"], gradient["KD"])
