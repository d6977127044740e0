"""Methods fit their pair of networks by themselves, use what is set, and refuse what cannot be."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from mdistiller_icc.builtin.config import CFG
from mdistiller_icc.builtin.distillers import distiller_dict
from mdistiller_icc.builtin.distillers.fitnet import regressor
from mdistiller_icc.builtin.distillers.settings import given, image_size
from mdistiller_icc.builtin.distillers.stages import pair_stages
from mdistiller_icc.builtin.models import cifar_model_dict, imagenet_model_dict, tiny_imagenet_model_dict
from mdistiller_icc.errors import UserError

CIFAR_PAIRS = [
    "wrn_40_2 wrn_16_2",
    "wrn_40_2 wrn_40_1",
    "resnet56 resnet20",
    "resnet110 resnet32",
    "resnet32x4 resnet8x4",
    "vgg13 vgg8",
    "vgg13 MobileNetV2",
    "ResNet50 MobileNetV2",
    "ResNet50 vgg8",
    "resnet32x4 ShuffleV1",
    "resnet32x4 ShuffleV2",
    "wrn_40_2 ShuffleV1",
    "ResNet50 resnet8x4",
    "vgg13 resnet8x4",
]
FITTED = ["AT", "OFD", "FITNET", "KDSVD", "CRD", "NST", "VID", "REVIEWKD"]

REVIEWKD_CHANNELS = {
    "resnet32x4 resnet8x4": ([64, 128, 256, 256], [64, 128, 256, 256]),
    "resnet56 resnet20": ([16, 32, 64, 64], [16, 32, 64, 64]),
    "wrn_40_2 wrn_40_1": ([16, 32, 64, 64], [32, 64, 128, 128]),
    "vgg13 vgg8": ([128, 256, 512, 512, 512], [128, 256, 512, 512, 512]),
    "vgg13 MobileNetV2": ([12, 16, 48, 160, 1280], [128, 256, 512, 512, 512]),
    "ResNet50 MobileNetV2": ([12, 16, 48, 160, 1280], [256, 512, 1024, 2048, 2048]),
    "resnet32x4 ShuffleV1": ([240, 480, 960, 960], [64, 128, 256, 256]),
    "resnet32x4 ShuffleV2": ([116, 232, 464, 1024], [64, 128, 256, 256]),
}
"""IN_CHANNELS and OUT_CHANNELS of each pair as ReviewKD's authors set them by hand."""


def config(*options: Any):
    cfg = CFG.clone()
    cfg.merge_from_list(["CRD.NCE.K", 6, *options])
    return cfg


def pair(names: str, models: dict[str, Any] = cifar_model_dict, classes: int = 10) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    teacher, student = (models[name][0](num_classes=classes) for name in names.split())
    return student, teacher


def distiller(method: str, networks: tuple[nn.Module, nn.Module], *options: Any) -> nn.Module:
    return distiller_dict[method](*networks, config(*options), *[8] * (method == "CRD")).train()


def step(method: nn.Module, side: int = 32, classes: int = 10) -> dict[str, torch.Tensor]:
    index = torch.arange(2)
    image, target = torch.randn(2, 3, side, side), torch.randint(classes, (2,))
    _, losses = method(image=image, target=target, index=index, epoch=1)
    sum(losses.values()).backward()
    return losses


@pytest.mark.parametrize("names", CIFAR_PAIRS)
def test_feature_methods_fit_every_pair(names: str) -> None:
    networks = pair(names)
    for method in FITTED:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a broadcast of shapes that do not match would only warn
            losses = step(distiller(method, networks))
        assert all(loss.isfinite() for loss in losses.values()), method


@pytest.mark.parametrize("names", ["ResNet18 MobileNetV2", "ResNet18 ShuffleV2"])
def test_feature_methods_fit_tiny_imagenets_networks(names: str) -> None:
    networks = pair(names, tiny_imagenet_model_dict, classes=200)
    for method in FITTED:
        losses = step(distiller(method, networks, "DATASET.TYPE", "tiny_imagenet"), 64, 200)
        assert all(loss.isfinite() for loss in losses.values()), method


def test_feature_methods_fit_imagenets_networks() -> None:
    networks = imagenet_model_dict["MobileNetV1"](pretrained=False), imagenet_model_dict["ResNet34"](pretrained=False)
    for method in FITTED:
        assert distiller(method, networks, "DATASET.TYPE", "imagenet").get_extra_parameters() >= 0, method


@pytest.mark.parametrize("names", REVIEWKD_CHANNELS)
def test_reviewkd_finds_what_its_authors_set_by_hand(names: str) -> None:
    method = distiller("REVIEWKD", pair(names))
    found_in = [fusion.conv1[0].in_channels for fusion in method.abfs][::-1]
    found_out = [fusion.conv2[0].out_channels for fusion in method.abfs][::-1]
    assert (found_in, found_out) == REVIEWKD_CHANNELS[names]


def test_reviewkd_uses_as_many_levels_as_are_set() -> None:
    method = distiller("REVIEWKD", pair("resnet14 resnet8"), "REVIEWKD.IN_CHANNELS", [32, 64, 64])
    assert [fusion.conv1[0].in_channels for fusion in method.abfs] == [64, 64, 32]
    step(method)


@pytest.mark.parametrize(
    ("key", "value", "fitting"),
    [
        ("IN_CHANNELS", [32, 64, 64, 65], "16, 16, 32, 64, 64"),
        ("OUT_CHANNELS", [16, 64, 64], "16, 32, 64, 64"),
        ("SHAPES", [1, 7, 14], "1, 8, 16, 32, 32"),
        ("OUT_SHAPES", [1, 16, 8], "1, 8, 16, 32"),
    ],
)
def test_reviewkd_refuses_lists_that_do_not_fit(key: str, value: list[int], fitting: str) -> None:
    with pytest.raises(UserError, match=rf"REVIEWKD.{key}.*\[{fitting}\]"):
        distiller("REVIEWKD", pair("resnet14 resnet8"), f"REVIEWKD.{key}", value)


def test_reviewkd_keeps_to_its_largest_middle() -> None:
    networks = pair("resnet14 resnet8")
    assert distiller("REVIEWKD", networks, "REVIEWKD.MAX_MID_CHANNEL", 24).abfs[0].conv1[0].out_channels == 24
    upstream = distiller("REVIEWKD", networks, "REVIEWKD.MAX_MID_CHANNEL", 24, "COMPAT.UPSTREAM", True)
    assert upstream.abfs[0].conv1[0].out_channels == 64


def test_crd_refuses_a_dimension_that_does_not_fit() -> None:
    with pytest.raises(UserError, match="CRD.FEAT.STUDENT_DIM: 512.*64"):
        distiller("CRD", pair("resnet14 resnet8"), "CRD.FEAT.STUDENT_DIM", 512)
    distiller("CRD", pair("resnet14 resnet8"), "CRD.FEAT.STUDENT_DIM", 64)


def test_fitnet_refuses_a_stage_that_is_not_there() -> None:
    with pytest.raises(UserError, match="HINT_LAYER: 9.*4 stages"):
        distiller("FITNET", pair("resnet14 resnet8"), "FITNET.HINT_LAYER", 9)


SHAPES = [(16, 8, 8), (8, 16, 16), (8, 8, 8), (8, 6, 6), (16, 5, 5), (8, 32, 8)]


@pytest.mark.parametrize(("side", "goal", "found"), SHAPES)
def test_fitnets_regressor_reaches_the_teachers_shape(side: int, goal: int, found: int) -> None:
    output = regressor((1, 3, side, side), (1, 5, goal, goal))(torch.randn(2, 3, side, side))
    assert output.shape == (2, 5, found, found)


def test_ofd_refuses_a_teacher_without_batch_norms_before_its_relus() -> None:
    with pytest.raises(UserError, match="OFD"):
        distiller("OFD", pair("ShuffleV1 resnet8"))


def test_methods_refuse_networks_without_a_common_stage() -> None:
    method = distiller("AT", pair("resnet14 resnet8"))
    features = {"feats": [torch.rand(1, 2, size, size) for size in (9, 9, 3)]}, {"feats": [torch.rand(1, 2, 8, 8)] * 2}
    with pytest.raises(UserError, match="9×9, 3×3 against 8×8"):
        method.feature_loss(*features)


def test_kdsvd_refuses_a_single_common_stage() -> None:
    student, teacher = pair("resnet14 resnet8")
    teacher.register_forward_hook(lambda _module, _images, out: (out[0], {"feats": out[1]["feats"][-2:]}))
    with pytest.raises(UserError, match="one stage"):
        distiller("KDSVD", (student, teacher))


def test_kdsvd_has_no_more_vectors_than_a_map_is_wide() -> None:
    assert distiller("KDSVD", pair("resnet14 resnet8"), "KDSVD.K", 8).k == 8
    with pytest.raises(UserError, match="KDSVD.K must be at most 8, .* not 9"):
        distiller("KDSVD", pair("resnet14 resnet8"), "KDSVD.K", 9)


def test_images_that_do_not_go_through_a_pair_are_refused() -> None:
    with pytest.raises(UserError, match="does not take images of 4×4 pixels"):
        distiller("FITNET", pair("vgg13 vgg8"), "FITNET.INPUT_SIZE", (4, 4))


def test_stages_pair_in_order_or_by_resolution() -> None:
    def sizes(*sides: int) -> list[tuple[int, int]]:
        return [(side, side) for side in sides]

    assert pair_stages(sizes(16, 8, 4), sizes(32, 16, 8)) == [(0, 0), (1, 1), (2, 2)]
    assert pair_stages(sizes(28, 14, 7), sizes(56, 28, 14, 7)) == [(0, 1), (1, 2), (2, 3)]
    assert pair_stages(sizes(16, 8, 4, 4), sizes(32, 16, 8)) == [(0, 1), (1, 2)]
    assert pair_stages(sizes(8, 4, 4), sizes(4, 4)) == [(2, 1)]
    assert pair_stages(sizes(28, 14, 7), sizes(56, 28, 14, 7), upstream=True) == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize("method", ["AT", "NST", "VID"])
def test_switch_restores_pairing_in_order(method: str) -> None:
    networks = pair("vgg13 resnet8")
    image, target = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    losses = []
    for upstream in (False, True):
        torch.manual_seed(0)
        built = distiller(method, networks, "COMPAT.UPSTREAM", upstream)
        losses.append(built(image=image, target=target)[1]["loss_kd"].item())
        if method == "VID":
            assert built.pairs == ([(0, 0), (1, 1), (2, 2)] if upstream else [(1, 0), (2, 1)])
            assert built.log_scales[0].requires_grad is not upstream
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("method", ["FITNET", "VID"])
def test_switch_restores_the_noise_in_both_networks(method: str) -> None:
    networks = pair("resnet14 resnet8")
    distiller(method, networks, "COMPAT.UPSTREAM", True)
    for network in networks:
        assert network.bn1.num_batches_tracked == 1 and network.bn1.running_mean.abs().sum() > 0
    assert networks[0].training and not networks[1].training


def test_switch_restores_ofds_training_teacher() -> None:
    networks = pair("resnet14 resnet8")
    method = distiller("OFD", networks, "COMPAT.UPSTREAM", True)
    assert networks[1].training and not method.eval().teacher.training


def test_a_default_counts_as_not_given() -> None:
    defaults = distiller_dict["REVIEWKD"].defaults()
    node = defaults.clone()
    assert given(node, defaults, "SHAPES") is None and given(node, defaults, "MAX_MID_CHANNEL") is None
    node.SHAPES = (1, 8, 16, 32)
    assert given(node, defaults, "SHAPES") is None
    node.SHAPES = [1, 8]
    assert given(node, defaults, "SHAPES") == [1, 8]


def test_size_of_the_images_follows_from_the_data_set_unless_it_is_given() -> None:
    defaults = distiller_dict["FITNET"].defaults()
    cfg = config("DATASET.TYPE", "imagenet")
    assert image_size(cfg) == image_size(cfg, cfg.FITNET, defaults) == 224
    cfg.FITNET.INPUT_SIZE = (96, 96)
    assert image_size(cfg, cfg.FITNET, defaults) == 96
    cfg.FITNET.INPUT_SIZE = (96, 64)
    with pytest.raises(UserError, match="96×64"):
        image_size(cfg, cfg.FITNET, defaults)
    with pytest.raises(UserError, match="did you mean 'cifar100'"):
        image_size(config("DATASET.TYPE", "cifar1000"))
    upstream = config("DATASET.TYPE", "imagenet", "COMPAT.UPSTREAM", True)
    assert image_size(upstream, upstream.FITNET, defaults) == 32


def test_a_configuration_without_the_switch_is_taken_as_off() -> None:
    cfg = config()
    networks = pair("resnet14 resnet8")
    switched_off = distiller_dict["VID"](*networks, cfg).get_extra_parameters()
    del cfg["COMPAT"]
    assert distiller_dict["VID"](*networks, cfg).get_extra_parameters() == switched_off
