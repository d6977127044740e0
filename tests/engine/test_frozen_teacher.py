"""The teacher's inference copy says what the teacher says."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mdistiller_icc.builtin.distillers import distiller_dict
from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.data import digits
from mdistiller_icc.distillers.frozen_teacher import FrozenTeacher
from mdistiller_icc.run import configure

NETWORKS = sorted(name for name in cifar_model_dict if not name.endswith(("_icc", "_vanilla")))
KEPT = {"wrn_40_2": 19, "wrn_16_1": 7, "wrn_16_2": 7, "wrn_40_1": 19}
"""Batch norms that follow a sum, or a map that is a feature itself, in pre-activation networks; elsewhere none stay."""
UNTRACED = ("vgg",)
"""Networks that look at the size of their images, which torch.fx cannot follow: they run as they are."""


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(digits.read().test.images[:6]).float().div(127.5).sub(1)


def trained(name, images, seed=0):
    """A network whose batch norms have statistics and weights of their own."""
    torch.manual_seed(seed)
    model = cifar_model_dict[name][0](num_classes=10).requires_grad_(False)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = None
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
    model.train()(images)
    return model.eval()


def everything(output):
    logits, features = output
    return [logits, *features["feats"], *features["preact_feats"], features["pooled_feat"]]


def norms(model):
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_networks_equal_the_unfolded_in_every_output(name, images):
    model = trained(name, images)
    for dtype, tolerance in ((torch.float32, 1e-3), (torch.float64, 1e-10)):
        model, batch = model.to(dtype), images[:3].to(dtype)
        frozen = FrozenTeacher(model)
        for ours, expected in zip(everything(frozen(batch)), everything(model(batch)), strict=True):
            assert (ours - expected).abs().max() <= tolerance * expected.abs().max()
        if name.startswith(UNTRACED):
            assert frozen._copy is None
        else:
            assert norms(frozen._copy) == KEPT.get(name, 0) < norms(model)


class Shown(nn.Module):
    """A convolution whose output is read by more than its batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, image):
        x = self.conv(image)
        return self.norm(x), {"feats": [x]}


class Twice(Shown):
    """One batch norm behind two convolutions."""

    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(3, 4, 3)

    def forward(self, image):
        return self.norm(self.conv(image)) + self.norm(self.other(image)), {}


class Again(Shown):
    """One convolution and its batch norm, run twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, image):
        return self.norm(self.conv(self.norm(self.conv(image)))), {}


class Slightly(Shown):
    """Folded, its convolution would say something a little else to its second reader."""

    def forward(self, image):
        return self.norm(self.conv(image)) + 0.05 * self.conv(image), {}


class Unlike(Shown):
    """Reads its batch norm's weight beside running it."""

    def forward(self, image):
        return self.norm(self.conv(image)) * self.norm.weight.sum(), {}


class DataDependent(Shown):
    """Goes one way or the other by what it sees, which a copy made at the first batch would not."""

    def forward(self, image):
        return self.norm(self.conv(image)) * (2.0 if image.mean() > 0 else 1.0), {}


class OwnPrecision(Shown):
    """Leaves autocast with a weight that is no longer what it was."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, image):
        pooled = self.norm(self.conv(image)).mean((2, 3)).float()
        with torch.autocast("cpu", enabled=False):
            return pooled @ self.fc.weight.T, {}


@pytest.mark.parametrize("network", [Shown, Twice, Again, Slightly, Unlike, DataDependent, OwnPrecision])
@pytest.mark.parametrize("autocast", [False, True])
def test_anybodys_network_says_what_it_said(network, autocast, images):
    torch.manual_seed(0)
    model = network().train().requires_grad_(False)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    model(images)
    frozen, alone = FrozenTeacher(model.eval()), copy.deepcopy(model)
    for batch in (images, -images, images[:1]):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            ours, plain = frozen(batch)[0], alone(batch)[0]
        exact = alone(batch)[0]
        assert ours.dtype == plain.dtype
        rounding = (plain - exact).abs().max() + 0.005 * exact.abs().max() if autocast else 1e-4
        assert (ours - exact).abs().max() <= 2 * rounding


def test_bf16_weights_are_kept_and_the_answer_stays_close(images):
    model = trained("resnet8", images)
    frozen = FrozenTeacher(model)
    with torch.autocast("cpu", torch.bfloat16):
        ours, plain = frozen(images), model(images)
    assert {m.weight.dtype for m in frozen._copy.modules() if isinstance(m, (nn.Conv2d, nn.Linear))} == {torch.bfloat16}
    assert next(model.parameters()).dtype == torch.float32
    exact = model(images)
    for a, b, reference in zip(everything(ours), everything(plain), everything(exact), strict=True):
        scale = reference.abs().max()
        assert (a - reference).abs().max() <= 2 * (b - reference).abs().max() + 0.01 * scale


def test_layout_changes_no_value(images):
    frozen = FrozenTeacher(trained("resnet8", images))
    last = frozen(images.contiguous(memory_format=torch.channels_last))
    assert last[1]["feats"][-1].is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(everything(last), everything(frozen(images)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_changed_teacher_is_seen(images):
    model, other = trained("resnet8", images), trained("resnet8", images, seed=1)
    frozen = FrozenTeacher(model)
    frozen(images)
    made = frozen._copy
    frozen(images)
    assert made is not None and frozen._copy is made  # made once
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(frozen(images)[0], other(images)[0], rtol=1e-4, atol=1e-5)
    model.double()
    assert frozen(images.double())[0].dtype == torch.float64


def test_a_teacher_loaded_with_its_distiller_is_seen_and_one_edited_in_place_when_told(images):
    cfg = configure(None, ["DATASET.TYPE", "digits"])
    model, other = (
        distiller_dict["KD"](trained("resnet8", images), trained("resnet20", images, seed), cfg) for seed in (0, 1)
    )
    before = model.teach(images)[0]
    model.load_state_dict(other.state_dict())
    after = model.teach(images)[0]
    torch.testing.assert_close(after, other.teach(images)[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, after)
    model.teacher.fc.bias.add_(1.0)
    assert torch.equal(model.teach(images)[0], after)  # as its docstring says
    model._frozen.forget()
    torch.testing.assert_close(model.teach(images)[0], after + 1.0, rtol=1e-4, atol=1e-5)


def test_hooks_and_train_mode_reach_the_teacher_itself(images):
    model = trained("resnet8", images)
    seen = []
    handle = model.layer1.register_forward_hook(lambda *_: seen.append(1))
    frozen = FrozenTeacher(model)
    frozen(images)
    frozen(images)
    assert seen == [1, 1]
    handle.remove()
    frozen.forget()
    frozen(images)
    assert seen == [1, 1] and frozen._copy is not None
    before = model.bn1.running_mean.clone()
    model.bn1.momentum = 0.1
    model.train()
    frozen(images)
    assert not torch.equal(model.bn1.running_mean, before)


class Replica(nn.DataParallel):
    """DataParallel, on the devices there are."""

    def forward(self, **inputs):
        replica = self.module._replicate_for_data_parallel()
        for name, child in self.module.named_children():
            setattr(replica, name, copy.copy(child))
        return replica(**inputs)


def test_a_replica_of_dataparallel_asks_its_own_teacher(images):
    cfg = configure(None, ["DATASET.TYPE", "digits"])
    model = distiller_dict["KD"](trained("resnet8", images), trained("resnet20", images), cfg).train()
    expected = model(image=images, target=torch.arange(6), epoch=1)[1]["loss_kd"]
    seen = []
    model.teacher.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    loss = Replica(model)(image=images, target=torch.arange(6), epoch=1)[1]["loss_kd"]
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-5)
    assert seen == [False]


def test_outputs_can_be_saved_for_backward(images):
    features = FrozenTeacher(trained("resnet8", images))(images)[1]
    weight = torch.ones(1, requires_grad=True)
    (features["pooled_feat"] * weight).sum().backward()
    assert weight.grad is not None and not features["pooled_feat"].requires_grad


def test_no_checkpoint_optimiser_or_copy_knows_of_it(images):
    cfg = configure(None, ["DATASET.TYPE", "digits"])
    model = distiller_dict["KD"](trained("resnet8", images), trained("resnet20", images), cfg)
    keys, learnable = list(model.state_dict()), len(model.get_learnable_parameters())
    logits = model.teach(images)[0]
    assert list(model.state_dict()) == keys and len(model.get_learnable_parameters()) == learnable
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            twin.teacher.fc.bias.add_(1.0)
        torch.testing.assert_close(twin.teach(images)[0], logits + 1.0, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.teach(images)[0], logits)
    model.teacher = trained("resnet8", images, seed=1)
    assert not torch.allclose(model.teach(images)[0], logits)


def test_fp32_is_the_same_to_the_last_bit_each_time(images):
    def losses():
        cfg = configure(None, ["DATASET.TYPE", "digits"])
        model = distiller_dict["KD"](trained("resnet8", images, 1), trained("resnet20", images), cfg).train()
        model.student.requires_grad_(True)
        optimizer = torch.optim.SGD(model.get_learnable_parameters(), lr=0.1, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            sum(model(image=images, target=torch.arange(6), epoch=1)[1].values()).backward()
            optimizer.step()
        return F.cross_entropy(model.student(images)[0], torch.arange(6))

    assert torch.equal(losses(), losses())
