"""How the built-in host's networks start out, and where their weights come from."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision import models

from mdistiller_icc.builtin.models import cifar_model_dict, imagenet_model_dict, tiny_imagenet_model_dict
from mdistiller_icc.builtin.models.checkpoints import cifar_teacher, tiny_imagenet_teacher
from mdistiller_icc.builtin.models.upstream import build
from mdistiller_icc.errors import UserError


def spread(model: nn.Module, expected) -> float:
    """The largest |measured standard deviation / expected - 1| over the convolutions with enough weights to tell."""
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 2000]
    assert weights
    return max(abs(w.std().item() / expected(w) - 1) for w in weights)


def he(weight: torch.Tensor) -> float:
    out, _, height, width = weight.shape
    return math.sqrt(2 / (out * height * width))


def torch_default(weight: torch.Tensor) -> float:
    fan_in = weight[0].numel()
    return 1 / math.sqrt(3 * fan_in)


@pytest.mark.parametrize("name", ["resnet20", "ResNet18", "wrn_16_2", "vgg8", "MobileNetV2"])
def test_convolutions_start_from_he(name):
    torch.manual_seed(0)
    assert spread(cifar_model_dict[name][0](num_classes=100), he) < 0.08


@pytest.mark.parametrize("name", ["ShuffleV1", "ShuffleV2"])
def test_shuffle_nets_start_from_torchs_default(name):
    torch.manual_seed(0)
    assert spread(cifar_model_dict[name][0](num_classes=100), torch_default) < 0.08


def test_tiny_and_imagenet_nets_start_as_in_mdistiller():
    torch.manual_seed(0)
    assert spread(tiny_imagenet_model_dict["MobileNetV2"][0](num_classes=200), torch_default) < 0.08
    assert spread(imagenet_model_dict["MobileNetV1"](), torch_default) < 0.08
    assert spread(imagenet_model_dict["ResNet18"](), he) < 0.08


@pytest.mark.parametrize(
    ("name", "layer", "std", "zero_bias"),
    [
        ("vgg8", "classifier", 0.01, True),
        ("MobileNetV2", "classifier.0", 0.01, True),
        ("wrn_16_2", "fc", 1 / math.sqrt(3 * 128), True),
        ("resnet8x4", "fc", 1 / math.sqrt(3 * 256), False),
        ("ResNet18", "linear", 1 / math.sqrt(3 * 512), False),
    ],
)
def test_classifiers_start(name, layer, std, zero_bias):
    torch.manual_seed(0)
    linear = cifar_model_dict[name][0](num_classes=100).get_submodule(layer)
    assert linear.weight.std().item() == pytest.approx(std, rel=0.05)
    assert bool((linear.bias == 0).all()) == zero_bias


def test_vgg_convolutions_start_without_bias():
    model = cifar_model_dict["vgg8"][0](num_classes=10)
    assert all((m.bias == 0).all() for m in model.modules() if isinstance(m, nn.Conv2d))


def test_released_checkpoints_lie_where_mdistiller_has_them(monkeypatch, unregistered):
    monkeypatch.delenv("MDISTILLER_ICC_DOWNLOADS", raising=False)
    assert cifar_teacher("vgg13") == "download_ckpts/cifar_teachers/vgg13_vanilla/ckpt_epoch_240.pth"
    monkeypatch.setenv("MDISTILLER_ICC_DOWNLOADS", "/elsewhere")
    path = "/elsewhere/tiny_imagenet_teachers/ResNet18_vanilla/ti_res18"
    assert tiny_imagenet_teacher("ResNet18", "ti_res18") == path
    with_checkpoint = {name for name, (_, path) in unregistered[1].items() if path is not None}
    assert with_checkpoint == {"resnet56", "resnet110", "resnet32x4", "ResNet50", "wrn_40_2", "vgg13"}


def test_pretrained_loads_torchvisions_first_weights(monkeypatch, tmp_path):
    # torchvision finds the file in its cache, so nothing is downloaded.
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source = imagenet_model_dict["ResNet18"](pretrained=False)
    torch.save(OrderedDict(source.state_dict()), cache / "weights")
    weights = models.get_model_weights("resnet18").IMAGENET1K_V1
    name = f"resnet18-{hashlib.sha256((cache / 'weights').read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(weights.value, "url", weights.url.replace("resnet18-f37072fd.pth", name))
    file = (cache / "weights").rename(cache / name)
    loaded = imagenet_model_dict["ResNet18"](pretrained=True)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), loaded.parameters(), strict=True))

    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: its SHA-256 does not begin with"):
        imagenet_model_dict["ResNet18"](pretrained=True)


def test_mobilenetv1_has_no_pretrained_weights():
    with pytest.raises(UserError, match="MobileNetV1"):
        imagenet_model_dict["MobileNetV1"](pretrained=True)


@pytest.mark.parametrize(("upstream", "updates"), [(False, {1}), (True, {1, 2})])
def test_wide_resnets_normalise_once_unless_asked(upstream, updates):
    model = build(cifar_model_dict["wrn_16_1"][0], upstream=upstream, num_classes=10)
    model(torch.randn(2, 3, 32, 32))
    counts = {name: int(b) for name, b in model.named_buffers() if name.endswith("num_batches_tracked")}
    assert set(counts.values()) == updates
    twice = {name.removesuffix(".num_batches_tracked") for name, count in counts.items() if count == 2}
    assert twice == ({"block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"} if upstream else set())


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "ShuffleV2"])
def test_build_asks_only_factories_that_know_an_old_behaviour(name):
    logits, _ = build(cifar_model_dict[name][0], upstream=True, num_classes=10)(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
