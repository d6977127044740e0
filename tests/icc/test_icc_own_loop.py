"""`ICCLoss` in somebody's own loop, on handwritten digits; the recipe's tests hold it to the paper's equations."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mdistiller_icc import ICCLoss
from mdistiller_icc.data import digits
from mdistiller_icc.errors import UserError
from mdistiller_icc.icc import ICC

IMAGES, BATCH = 96, 24


@pytest.fixture(scope="module")
def pictures():
    train = digits.read().train
    return torch.from_numpy(train.images[:IMAGES, :1, ::4, ::4]).float().div(255), torch.from_numpy(train.labels)[
        :IMAGES
    ]


class Loop:
    """Plain torch: a small network, SGD, and the loss."""

    def __init__(self, pictures, icc):
        torch.manual_seed(0)
        self.images, self.labels = pictures
        self.body, self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU()), nn.Linear(32, 10)
        self.icc = icc
        parameters = [*self.body.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.1)

    def view(self, index, step):
        return self.images[index] + 0.1 * torch.randn(
            len(index), 1, 8, 8, generator=torch.Generator().manual_seed(step)
        )

    def run(self, steps, numbered=True, classifier=False):
        losses = []
        for step in steps:
            index = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(step // 4))[step % 4 * BATCH :][
                :BATCH
            ]
            batch = torch.cat([self.view(index, step), self.view(self.icc.second_views(index), -1 - step)])
            feature = self.body(batch)
            logits, target = self.head(feature), self.labels[index]
            given = {"index": index} if numbered else {}
            loss = self.icc(logits, feature, target, classifier=self.head.weight if classifier else None, **given)
            self.optimizer.zero_grad()
            (F.cross_entropy(logits[:BATCH], target) + loss).backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses


def loss_of(positive, dim=None, **settings):
    return ICCLoss(10, dim, positive=positive, margin=-1, queue_size=2, num_data=IMAGES, **settings)


def test_its_defaults_are_the_recipes():
    node = ICC.defaults()
    given = {name: parameter.default for name, parameter in inspect.signature(ICCLoss).parameters.items()}
    assert [given[name] for name in ("weight", "margin", "similarity", "temperature", "reduction", "positive")] == [
        node.WEIGHT, node.MARGIN, node.SIMILARITY, node.TEMPERATURE, node.REDUCTION, node.POSITIVE
    ]  # fmt: skip
    assert [given[f"queue_{name}"] for name in ("size", "policy")] == [node.QUEUE.SIZE, node.QUEUE.POLICY]
    assert given["gradnorm_share"] is None and node.WEIGHT_MODE == "fixed"


@pytest.mark.parametrize("positive", ["view", "twin", "memory"])
def test_a_restored_loop_goes_on_to_the_bit(positive, pictures):
    """Also where nobody said how long the features are."""
    whole = Loop(pictures, loss_of(positive)).run(range(12))
    first = Loop(pictures, loss_of(positive, dim=32))
    begun = first.run(range(7))
    second = Loop(pictures, loss_of(positive))
    for part in ("body", "head", "icc"):
        getattr(second, part).load_state_dict(getattr(first, part).state_dict())
    assert begun + second.run(range(7, 12)) == whole
    assert sum(value > 0 for value in whole) >= 4
    assert 0.15 < second.icc.figures()["icc/anchors"] <= 0.4  # about one of three


def test_in_eval_mode_it_is_nothing_and_remembers_nothing(pictures):
    loop = Loop(pictures, loss_of("twin"))
    loop.run(range(4))
    before = {name: tensor.clone() for name, tensor in loop.icc.queues.state_dict().items()}
    loop.icc.eval()
    assert loop.run(range(4, 6)) == [0.0, 0.0]
    assert all(torch.equal(before[name], tensor) for name, tensor in loop.icc.queues.state_dict().items())


@pytest.mark.parametrize("positive", ["view", "twin"])
def test_in_eval_mode_no_second_views_are_asked_for(positive, pictures):
    loop, index = Loop(pictures, loss_of(positive)), torch.arange(BATCH)
    loop.run(range(4))
    wanted = loop.icc.second_views(index)
    loop.icc.eval()
    assert len(wanted) > 0 and loop.icc.second_views(index).tolist() == []
    assert torch.equal(loop.icc.train().second_views(index), wanted)


def test_features_without_a_gradient_are_not_compared(pictures):
    """As those of a frozen trunk."""
    loop = Loop(pictures, loss_of("twin"))
    loop.body.requires_grad_(False)
    loop.run(range(8), classifier=True)
    assert loop.icc.figures()["icc/gradient_share"] is None
    with pytest.raises(UserError, match="gradnorm_share wants a feature that carries a gradient"):
        loop.icc = loss_of("twin", gradnorm_share=0.2)
        loop.run(range(1), classifier=True)


@pytest.mark.parametrize("given, message", [
    ({"gradnorm_share": -1}, "ICC.GRADNORM.SHARE must be between 0 and 1000, not -1"),
    ({"gradnorm_share": float("nan")}, "ICC.GRADNORM.SHARE must be between 0 and 1000, not nan"),
    ({"gradnorm_share": 1e9}, "ICC.GRADNORM.SHARE must be between 0 and 1000"),
    ({"num_classes": 0}, "num_classes must be at least 1, not 0"),
    ({"num_classes": -1}, "num_classes must be at least 1, not -1"),
    ({"dim": -3}, "dim must be at least 1, not -3"),
    ({"num_data": -3}, "num_data must be at least 1, not -3"),
])  # fmt: skip
def test_what_is_out_of_range_is_told(given, message):
    with pytest.raises(UserError, match=message):
        ICCLoss(**{"num_classes": 10} | given)


def test_twin_needs_no_numbers(pictures):
    numbered, nameless = (Loop(pictures, loss_of("twin", dim=32)).run(range(4), named) for named in (True, False))
    assert numbered == nameless and max(numbered) > 0  # within an epoch no image meets itself anyway


def test_gradnorm(pictures):
    loop = Loop(pictures, loss_of("memory", gradnorm_share=0.2))
    with pytest.raises(UserError, match="gradnorm_share wants a feature that carries a gradient, and classifier"):
        loop.run(range(1))
    loop.run(range(12), classifier=True)
    assert loop.icc.figures()["icc/gradient_share"] > 0 and loop.icc.weight.value > 0


def test_the_logits_themselves(pictures):
    icc = loss_of("twin", gradnorm_share=0.2)
    for step in range(4):
        logits = torch.randn(2 * BATCH, 10, generator=torch.Generator().manual_seed(step)).requires_grad_()
        loss = icc(logits, logits, pictures[1][:BATCH])
    assert loss > 0 and icc.weight.value > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_inside_autocast(dtype):
    icc = loss_of("twin", dim=8)
    feature = torch.randn(2 * BATCH, 8, generator=torch.Generator().manual_seed(0)).mul(10).to(dtype).requires_grad_()
    logits, target = torch.zeros(BATCH, 10, dtype=dtype), torch.zeros(BATCH, dtype=torch.long)
    with torch.autocast("cpu", dtype):
        inside = icc(logits, feature, target)
    outside = loss_of("twin", dim=8)(logits.float(), feature.float(), target)
    assert inside.dtype == torch.float32 and inside > 0 and torch.equal(inside, outside)


def test_nothing_is_read_back_from_a_device():
    with FakeTensorMode():
        icc = loss_of("twin", dim=8)
        feature, target = torch.empty(2 * BATCH, 8, requires_grad=True), torch.zeros(BATCH, dtype=torch.long)
        loss = icc(torch.empty(BATCH, 10), feature, target)  # a value that is asked for raises here
    assert loss.shape == () and loss.requires_grad


@pytest.mark.parametrize("settings, rows, target, index, message", [
    ({}, 24, torch.zeros(24, dtype=torch.long), None, "wanted index, the images' numbers"),
    ({}, 20, torch.zeros(24, dtype=torch.long), torch.arange(24), r"feature is \(20, 8\); wanted \(24, 8\)$"),
    ({"positive": "twin"}, 24, torch.zeros(24, dtype=torch.long), None, r"wanted \(48, 8\), of the batch and after it"),
    ({"positive": "memory"}, 24, torch.zeros(24, dtype=torch.long), torch.arange(24), "wanted num_data"),
    ({"dim": 9}, 24, torch.zeros(24, dtype=torch.long), torch.arange(24), r"wanted \(24, 9\)"),
    ({}, 24, torch.zeros(24, 10), torch.arange(24), "wanted class numbers"),
])  # fmt: skip
def test_what_is_wrong_is_told(settings, rows, target, index, message):
    with pytest.raises(UserError, match=message):
        ICCLoss(10, **settings)(torch.zeros(24, 10), torch.zeros(rows, 8), target, index)


def test_a_networks_dictionary_of_features_is_told_from_its_feature():
    with pytest.raises(UserError, match="feature is a dict; wanted a tensor .*, such as features.'pooled_feat'"):
        ICCLoss(10)(torch.zeros(24, 10), {"pooled_feat": torch.zeros(24, 8)}, torch.zeros(24).long(), torch.arange(24))


@pytest.mark.parametrize("name, value, message", [
    ("positive", "veiw", "ICC.POSITIVE is one of .*did you mean 'view'"),
    ("queue_policy", "cleer", "ICC.QUEUE.POLICY is one of .*did you mean 'clear'"),
    ("similarity", "cosin", "ICC.SIMILARITY is one of .*did you mean 'cosine'"),
    ("margin", 1.5, "ICC.MARGIN must be between -1 and 1"),
    ("queue_size", 0, "ICC.QUEUE.SIZE must be at least 1"),
])  # fmt: skip
def test_settings_out_of_range(name, value, message):
    with pytest.raises(UserError, match=message):
        ICCLoss(10, **{name: value})


def test_a_state_of_another_similarity_is_refused():
    with pytest.raises(ValueError, match="for ICC.SIMILARITY dot"):
        ICCLoss(10, 8, similarity="cosine").load_state_dict(ICCLoss(10, 8).state_dict())
