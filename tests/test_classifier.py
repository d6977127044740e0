"""Where the class centres of every model are found, and what is said where they are not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mdistiller_icc.builtin.models import cifar_model_dict, tiny_imagenet_model_dict
from mdistiller_icc.classifier import centers, centers_with_bias, classifier_name
from mdistiller_icc.errors import UserError

CASES = [(name, entry[0], 32) for name, entry in cifar_model_dict.items()] + [
    (f"tiny {name}", entry[0], 64) for name, entry in tiny_imagenet_model_dict.items()
]


@pytest.mark.parametrize(("factory", "size"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_classifier_makes_the_logits_of_the_pooled_feature(factory, size: int) -> None:
    model = factory(num_classes=7).eval()
    name = classifier_name(model, "student")
    with torch.no_grad():
        logits, features = model(torch.randn(2, 3, size, size))
    bias = model.get_submodule(name).bias
    expected = nn.functional.linear(features["pooled_feat"].flatten(1), centers(model, name), bias)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_last_of_several_linear_layers_is_it() -> None:
    assert classifier_name(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 10)), "student") == "2"


def test_bias_is_the_last_column() -> None:
    layer = nn.Linear(3, 5)
    both = centers_with_bias(nn.Sequential(layer), "0")
    torch.testing.assert_close(both, torch.cat([layer.weight, layer.bias[:, None]], 1))
    assert centers_with_bias(nn.Sequential(nn.Linear(3, 5, bias=False)), "0").shape == (5, 3)


def test_a_model_without_classifier_is_refused() -> None:
    with pytest.raises(UserError, match="no classifier in the teacher: Sequential has no linear layer"):
        classifier_name(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), "teacher")


def test_two_candidates_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"layer of the student.*0, 2 of Sequential all have 10 outputs"):
        classifier_name(nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 10)), "student")
