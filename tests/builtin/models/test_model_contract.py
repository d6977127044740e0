"""What every model of the built-in host promises, whatever its architecture."""

from __future__ import annotations

import copy

import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict, imagenet_model_dict, tiny_imagenet_model_dict
from mdistiller_icc.errors import UserError

FACTORIES = {
    **{f"cifar/{name}": factory for name, (factory, _) in cifar_model_dict.items()},
    **{f"tiny_imagenet/{name}": factory for name, (factory, _) in tiny_imagenet_model_dict.items()},
    **{f"imagenet/{name}": factory for name, factory in imagenet_model_dict.items()},
}
QUICK = ["cifar/resnet8", "cifar/wrn_16_1", "cifar/vgg8", "cifar/MobileNetV2", "cifar/ShuffleV1", "cifar/ShuffleV2"]
ONE_OF_EACH = [*QUICK, "cifar/ResNet18", "tiny_imagenet/MobileNetV2", "imagenet/ResNet18", "imagenet/MobileNetV1"]


def small_batch(name: str, count: int = 2) -> torch.Tensor:
    side = 64 if name.startswith("imagenet") else 32
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("side", [32, 64, 48])
@pytest.mark.parametrize("name", FACTORIES)
def test_shapes_at_any_image_size(name, side):
    model = FACTORIES[name](num_classes=7).eval()
    with torch.no_grad():
        logits, features = model(torch.randn(2, 3, side, side))
    assert set(features) == {"feats", "preact_feats", "pooled_feat"}
    assert logits.shape == (2, 7)
    assert features["pooled_feat"].shape[0] == 2 and features["pooled_feat"].dim() == 2
    assert [f.shape[1] for f in features["feats"]] == model.get_stage_channels()
    assert [f.shape for f in features["preact_feats"]] == [f.shape for f in features["feats"]]
    heights = [f.shape[2] for f in features["feats"]]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize(("side", "heights"), [(32, [32, 16, 8, 4, 4]), (64, [64, 32, 16, 8, 4])])
def test_vgg_pools_once_more_at_64_pixels(side, heights):
    _, features = FACTORIES["cifar/vgg8"](num_classes=7)(torch.randn(2, 3, side, side))
    assert [f.shape[2] for f in features["feats"]] == heights


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_feature_carries_a_gradient_to_the_first_weight(name):
    model = FACTORIES[name](num_classes=7)
    first = next(model.parameters())
    logits, features = model(small_batch(name))
    for value in [logits, features["pooled_feat"], *features["feats"], *features["preact_feats"]]:
        # A batch norm makes the plain sum a constant, so the gradient is that of the squares.
        (gradient,) = torch.autograd.grad(value.pow(2).sum(), first, retain_graph=True)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", ["cifar/resnet8", "cifar/ResNet18", "cifar/vgg8", "imagenet/ResNet18"])
def test_features_are_the_relu_of_preact_features(name):
    _, features = FACTORIES[name](num_classes=7).eval()(small_batch(name))
    for feat, preact in zip(features["feats"], features["preact_feats"], strict=True):
        assert torch.equal(feat, preact.relu())
    assert all(preact.min() < 0 for preact in features["preact_feats"][1:])


@pytest.mark.parametrize("name", FACTORIES)
def test_batch_norms_before_relu_match_the_last_stages(name):
    model = FACTORIES[name](num_classes=7)
    if "Shuffle" in name:
        with pytest.raises(UserError, match="OFD"):
            model.get_bn_before_relu()
        return
    norms = model.get_bn_before_relu()
    assert [norm.num_features for norm in norms] == model.get_stage_channels()[-len(norms) :]
    assert all(isinstance(norm, torch.nn.BatchNorm2d) for norm in norms)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_feature_modules_are_the_models_own(name):
    model = FACTORIES[name](num_classes=7)
    own = {id(module) for module in model.children()}
    parts = model.get_feat_modules()
    assert len(parts) > 0 and all(id(part) in own for part in parts)


@pytest.mark.parametrize("name", QUICK)
def test_a_copy_computes_the_same_and_shares_nothing(name):
    model = FACTORIES[name](num_classes=7).eval()
    twin = copy.deepcopy(model)
    image = small_batch(name)
    assert torch.equal(model(image)[0], twin(image)[0])
    for parameter in twin.parameters():
        parameter.data.zero_()
    assert model(image)[0].abs().sum() > 0


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_an_images_features_do_not_depend_on_its_batch(name):
    model = FACTORIES[name](num_classes=7).eval()
    image = small_batch(name, 3)
    together, alone = model(image), model(image[1:2])
    torch.testing.assert_close(together[0][1:2], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1]["pooled_feat"][1:2], alone[1]["pooled_feat"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_low_precision_stays_close(name):
    model = FACTORIES[name](num_classes=7).eval()
    image = small_batch(name)
    exact = model(image)[1]["feats"][-1]
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(image)[1]["feats"][-1]
    assert (rough.float() - exact).norm() < 0.05 * exact.norm()
