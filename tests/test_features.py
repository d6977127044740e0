"""Networks that return logits alone, under every method, on handwritten digits."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_small, resnet18, vit_b_16

from mdistiller_icc import data, with_features
from mdistiller_icc.distillers import base
from mdistiller_icc.errors import UserError
from mdistiller_icc.features import complete
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure
from mdistiller_icc.teachers import resolve

WITH_LOGITS = ["NONE", "KD", "DKD", "ICCKD", "CKD", "BICKD"]
NEWER = ["DIST", "CTKD", "TTM", "WTTM", "NKD", "RLD", "DTKD", "GDKD", "NORMKD", "WKD", "KDPP"]
WITH_POOLED = ["ICC", "RKD", "PKT", "CRD", "PCKD"]
WITH_STAGES = ["AT", "FITNET", "KDSVD", "NST", "SP", "VID"]
WITH_PREACT = ["REVIEWKD"]


class Net(nn.Module):
    """Two stages after a stem, each without ReLU and with it."""

    def __init__(self, width=8, inplace=False):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width)) for _ in range(2)
        )
        self.relu = nn.ModuleList(nn.ReLU(inplace) for _ in range(2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, 10)

    def forward(self, image):
        x = self.stem(image)
        for down, relu in zip(self.down, self.relu, strict=True):
            x = relu(down(x))
        return self.head(self.pool(x).flatten(1))


STAGES = {"stages": ["stem", "relu.0", "relu.1"], "preact_stages": ["stem", "down.0", "down.1"]}


@pytest.fixture(scope="module")
def images():
    cfg = configure(None, ["DATASET.TYPE", "digits", "SOLVER.BATCH_SIZE", "8", "DATASET.FRACTION", "0.1"])
    return data.load(cfg, 0, torch.device("cpu"))


def step(method, images, monkeypatch, wrap=lambda model: model):
    """The gradient of a student's first layer, of a training step between two networks of one's own."""
    host = register(verbose=False).host
    for name, width in (("own_teacher", 12), ("own_student", 8)):
        monkeypatch.setitem(host.cifar_model_dict, name, (lambda num_classes, width=width: wrap(Net(width)), None))
    cfg = configure(None, [
        "DISTILLER.TYPE", method, "DATASET.TYPE", "digits", "CRD.NCE.K", "16", "FITNET.HINT_LAYER", "1",
    ])  # fmt: skip
    teacher, student = (resolve.build(host.cifar_model_dict, f"own_{who}", cfg, 10) for who in ("teacher", "student"))
    made = base.adopt(host.distiller_dict[method])
    distiller = base.build(made, student, None if made.teacher_kind else teacher, cfg, images.num_data).train()
    distiller.attach(images.train)
    image, target, index = next(iter(images.train))
    logits, losses = distiller(image=image, target=target, index=index, epoch=1)
    sum(losses.values()).backward()
    assert logits.shape == (8, 10)
    return student.stem.weight.grad


@pytest.mark.parametrize("method", WITH_LOGITS + NEWER + WITH_POOLED)
def test_logits_alone_are_enough(method, images, monkeypatch):
    assert step(method, images, monkeypatch).abs().sum() > 0


@pytest.mark.parametrize("method", WITH_STAGES + WITH_PREACT)
def test_others_say_in_a_line_what_forward_must_return(method, images, monkeypatch):
    with pytest.raises(
        UserError, match=r"needs the feature '(preact_)?feats'.*with_features.*let forward return .logits"
    ):
        step(method, images, monkeypatch)


@pytest.mark.parametrize("method", ["KD", "RKD", *WITH_STAGES, *WITH_PREACT])
def test_named_layers_are_enough_for_them(method, images, monkeypatch):
    gradient = step(method, images, monkeypatch, lambda model: with_features(model, **STAGES))
    assert gradient.abs().sum() > 0


def test_a_network_of_ones_own_that_returns_too_little_says_so_in_a_line(images, monkeypatch):
    class Pooled(Net):
        def forward(self, image):
            return super().forward(image), {"pooled_feat": image.mean((2, 3))}

    with pytest.raises(UserError, match="needs the feature 'feats', which the network does not return: .*let forward"):
        step("AT", images, monkeypatch, lambda model: Pooled())


def test_what_is_taken_is_what_the_layers_make():
    net = Net().eval()
    image = torch.randn(4, 3, 32, 32)
    x = net.stem(image)
    preact = [x, net.down[0](x)]
    preact.append(net.down[1](preact[1].relu()))
    feats = [x, preact[1].relu(), preact[2].relu()]
    logits = net(image)
    names = list(net.state_dict())
    for pooled in (None, "pool", "relu.1"):
        hooked = with_features(copy.deepcopy(net), pooled, **STAGES)
        for network in (hooked, copy.deepcopy(hooked)):
            taken, features = network(image)
            assert torch.equal(taken, logits) and list(network.state_dict()) == names
            assert all(torch.equal(a, b) for a, b in zip(features["feats"], feats, strict=True))
            assert all(torch.equal(a, b) for a, b in zip(features["preact_feats"], preact, strict=True))
            torch.testing.assert_close(features["pooled_feat"], feats[-1].mean((2, 3)))


@pytest.mark.parametrize("make, dim", [(resnet18, 512), (mobilenet_v3_small, 1024), (vit_b_16, 768)])
def test_torchvisions_networks_give_what_their_classifier_reads(make, dim):
    size = 224 if make is vit_b_16 else 32
    model = make(num_classes=10)
    assert complete(model, size) is model
    with torch.no_grad():
        assert model.eval()(torch.randn(2, 3, size, size))[1]["pooled_feat"].shape == (2, dim)
    kind = type(model)
    assert type(complete(model, size)) is kind  # it returns a pair by now


def test_a_network_that_does_not_take_the_size_says_so():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with pytest.raises(UserError, match=r"^Sequential does not take images of 20×20 pixels \(mat1 and mat2 shapes"):
        complete(model, 20)
    assert isinstance(complete(model, 32)(torch.randn(2, 3, 32, 32)), tuple)


def test_compiled():
    model = with_features(Net(), **STAGES)
    image = torch.randn(4, 3, 32, 32)
    logits, features = torch.compile(model, backend="aot_eager")(image)
    assert torch.allclose(logits, model(image)[0], atol=1e-5) and len(features["feats"]) == 3


def test_a_classifier_that_does_not_come_last_is_none():
    class Scaled(Net):
        def forward(self, image):
            return super().forward(image) * 2

    with pytest.raises(UserError, match="'pooled_feat'"):
        with_features(Scaled())(torch.randn(2, 3, 32, 32))[1]["pooled_feat"]


@pytest.mark.parametrize("wrap, message", [
    (lambda: with_features(Net(), "poool"), "Net has no layer 'poool' .did you mean 'pool'"),
    (lambda: with_features(Net(inplace=True), stages=["down.0"]), "'down.0' makes is changed in place"),
    (lambda: with_features(with_features(Net())), "Net returns a tuple, not logits alone"),
    (lambda: with_features(nn.Sequential(Net(), nn.Softmax(1)), "0.head.bias"), "has no layer '0.head.bias'"),
])  # fmt: skip
def test_mistakes(wrap, message):
    with pytest.raises(UserError, match=message):
        wrap()(torch.randn(2, 3, 32, 32))
