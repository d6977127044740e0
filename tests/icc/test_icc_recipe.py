"""The ICC recipe on real images: handwritten digits, resnet8."""

from __future__ import annotations

import pytest
import torch

from mdistiller_icc import data
from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.engine.trainer import seed_everything
from mdistiller_icc.errors import UserError
from mdistiller_icc.icc import ICC
from mdistiller_icc.icc.recipe import check
from mdistiller_icc.losses.intra_class import intra_class_loss, unit
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure

CPU = torch.device("cpu")
BUILT_IN = list(cifar_model_dict)  # before anybody registers teachers beside them


def config(*options):
    base = [
        "DATASET.TYPE",
        "digits",
        "DISTILLER.TYPE",
        "ICC",
        "DISTILLER.STUDENT",
        "resnet8",
        "DATASET.FRACTION",
        "0.2",
    ]
    return configure(None, [*base, *map(str, options)])


def recipe(*options, method="ICC", seed=0):
    cfg = config(*options)
    seed_everything(seed)
    dataset = data.load(cfg, seed, CPU)
    host = register(verbose=False).host
    student = host.cifar_model_dict["resnet8"][0](num_classes=10)
    distiller = ICC(student, None, cfg) if method == "ICC" else host.distiller_dict["NONE"](student)
    if method == "ICC":
        distiller.attach(dataset.train)
    return distiller.train(), dataset


def train(distiller, dataset, epochs=1, lr=0.05):
    optimizer = torch.optim.SGD(distiller.get_learnable_parameters(), lr=lr, momentum=0.9)
    losses = []
    for epoch in range(1, epochs + 1):
        dataset.train.set_epoch(epoch)
        for image, target, index in dataset.train:
            _, parts = distiller(image=image, target=target, index=index, epoch=epoch)
            optimizer.zero_grad()
            sum(parts.values()).backward()
            optimizer.step()
            losses.append({name: loss.item() for name, loss in parts.items()})
    return losses


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("positive", ["view", "twin", "memory"])
def test_weight_zero_is_plain_training_to_the_last_bit(positive):
    plain, dataset = recipe(method="NONE")
    train(plain, dataset, epochs=2)
    icc, dataset = recipe("ICC.WEIGHT", 0, "ICC.MARGIN", -1, "ICC.POSITIVE", positive)
    train(icc, dataset, epochs=2)
    assert same(plain.student, icc.student)  # batch norm's running statistics included


def test_the_loss_joins_in_and_changes_training():
    plain, dataset = recipe(method="NONE")
    train(plain, dataset, epochs=2)
    icc, dataset = recipe("ICC.MARGIN", -0.9)
    losses = train(icc, dataset, epochs=2)
    assert max(step["loss_kd"] for step in losses) > 0
    assert not same(plain.student, icc.student)


@pytest.mark.parametrize("positive", ["view", "twin", "memory"])
@pytest.mark.parametrize("policy", ["clear", "slide"])
def test_every_positive_with_every_policy(positive, policy):
    icc, dataset = recipe("ICC.POSITIVE", positive, "ICC.QUEUE.POLICY", policy, "ICC.MARGIN", -0.9, "ICC.QUEUE.SIZE", 4)
    losses = train(icc, dataset, epochs=2)
    told = icc.diagnostics()
    assert all(loss["loss_ce"] == loss["loss_ce"] for loss in losses)  # no NaN
    assert told["icc/anchors"] > 0 and told["icc/passed"] > 0.5 and told["icc/weight"] == pytest.approx(0.02)
    # an anchor against n negatives starts near log(1 + n) for features that are all alike
    assert 0 < told["icc/loss_intra"] < 2 * torch.tensor(5.0).log()


def test_nothing_passes_the_gate():
    icc, dataset = recipe("ICC.MARGIN", 1.0)
    losses = train(icc, dataset)
    assert {step["loss_kd"] for step in losses} == {0.0}
    assert icc.diagnostics()["icc/passed"] == 0


def test_a_margin_of_exactly_delta_does_not_pass():
    icc, _ = recipe("ICC.MARGIN", 0.0, "ICC.QUEUE.POLICY", "slide")
    classifier = icc.student.get_submodule(icc.classifier)
    torch.nn.init.zeros_(classifier.weight)
    torch.nn.init.zeros_(classifier.bias)  # all classes are equally probable: every margin is 0
    batch = torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.long), torch.arange(4)
    icc(image=batch[0], target=batch[1], index=batch[2], epoch=1)
    assert icc.queues.count.sum() == 0
    icc.margin = -1e-6
    icc(image=batch[0], target=batch[1], index=batch[2], epoch=1)
    assert icc.queues.count.sum() == 4


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_architecture_takes_a_step(name):
    cfg = config("ICC.POSITIVE", "twin", "ICC.MARGIN", -1, "ICC.QUEUE.POLICY", "slide", "DATASET.TYPE", "cifar100")
    model = cifar_model_dict[name][0](num_classes=100)
    icc = ICC(model, None, cfg).train()
    icc.views = lambda index: torch.randn(len(index), 3, 32, 32)
    for _ in range(2):
        logits, losses = icc(
            image=torch.randn(4, 3, 32, 32), target=torch.zeros(4, dtype=torch.long), index=torch.arange(4), epoch=1
        )
        sum(losses.values()).backward()
    assert logits.shape == (4, 100) and losses["loss_kd"] > 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_warm_up_waits():
    icc, dataset = recipe("ICC.WARMUP", 1, "ICC.MARGIN", -1)
    assert all("loss_kd" not in step for step in train(icc, dataset))
    assert icc.queues.count.sum() == 0
    image, target, index = next(iter(dataset.train))
    icc(image=image, target=target, index=index, epoch=2)
    assert icc.queues.count.sum() > 0


def test_second_views_carry_the_gradient_and_bring_no_cross_entropy():
    icc, dataset = recipe("ICC.MARGIN", -1, "ICC.QUEUE.SIZE", 1)
    batches = iter(dataset.train)
    seen = []
    icc.student.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    for _ in range(3):
        image, target, index = next(batches)
        logits, parts = icc(image=image, target=target, index=index, epoch=1)
        assert len(logits) == len(image)
    assert seen[0] == len(image) < seen[1]  # anchors of the first batch return with the second
    only = torch.autograd.grad(parts["loss_kd"], icc.student.conv1.weight)[0]
    assert only.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    icc, dataset = recipe("ICC.MARGIN", -1, "ICC.QUEUE.SIZE", 2)
    for step, (image, target, index) in enumerate(dataset.train):
        with torch.autocast("cpu", dtype=dtype):
            _, parts = icc(image=image, target=target, index=index, epoch=1)
        assert parts["loss_kd"].dtype == torch.float32 and torch.isfinite(parts["loss_kd"])
        parts["loss_kd"].backward()
        if step == 2:
            break
    assert parts["loss_kd"] > 0


@pytest.mark.parametrize("positive", ["view", "twin", "memory"])
@pytest.mark.parametrize("policy", ["clear", "slide"])
def test_the_gradient_is_that_of_the_equation_walked_back(positive, policy):
    icc, _ = recipe(
        "ICC.POSITIVE", positive, "ICC.QUEUE.POLICY", policy, "ICC.QUEUE.SIZE", 2, "ICC.MARGIN", -1,
        "ICC.TEMPERATURE", 0.3, "ICC.WEIGHT", 0.7,
    )  # fmt: skip
    kept, draw = [], icc.positive.tuplets
    icc.positive.tuplets = lambda *seen: kept.append(draw(*seen)) or kept[-1]
    source = torch.Generator().manual_seed(0)
    target, index = torch.arange(24) % 3, torch.arange(24)
    for _ in range(3):
        wanted, *waiting = icc.positive.waiting(index)
        count = len(index) + len(wanted)
        feature = torch.randn(count, 64, generator=source, dtype=torch.float64).requires_grad_()
        logits = torch.randn(24, 10, generator=source, dtype=torch.float64)
        losses, (f, i, met, *_) = icc._objective(logits, feature, target, index, waiting)
        icc.positive.keep(f, i, met)
    (closed,) = torch.autograd.grad(losses["loss_kd"], feature)
    (_, *drawn), rows, positive_rows = kept[-1]
    x_plus, negatives, valid = map(torch.as_tensor, drawn)
    f = unit(feature)
    x_plus = x_plus if positive_rows is None else f[positive_rows]
    walked = 0.7 * intra_class_loss(f[rows], x_plus, negatives, valid, 0.3).sum() / valid.any(1).sum()
    assert valid.any() and walked.item() == pytest.approx(losses["loss_kd"].item())
    torch.testing.assert_close(closed, torch.autograd.grad(walked, feature)[0], rtol=1e-6, atol=1e-9)


def test_gradnorm_keeps_the_share():
    icc, dataset = recipe(
        "ICC.WEIGHT_MODE", "gradnorm", "ICC.GRADNORM.SHARE", 0.3, "ICC.GRADNORM.MOMENTUM", 0, "ICC.MARGIN", -1,
        "ICC.QUEUE.SIZE", 2, "ICC.GRADNORM.MAX", 1e9, "ICC.POSITIVE", "twin",
    )  # fmt: skip
    kept = {}
    original = icc.student.forward

    def forward(image):
        logits, features = original(image)
        kept["feature"] = features["pooled_feat"]
        return logits, features

    icc.student.forward = forward
    for step, (image, target, index) in enumerate(dataset.train):
        _, parts = icc(image=image, target=target, index=index, epoch=1)
        if step == 2:
            break
    ce, intra = (
        torch.autograd.grad(parts[name], kept["feature"], retain_graph=True)[0].norm()
        for name in ("loss_ce", "loss_kd")
    )
    assert (intra / ce).item() == pytest.approx(0.3, rel=1e-4)


def test_memory_is_refused_where_it_would_not_fit():
    icc, _ = recipe("ICC.POSITIVE", "memory")
    with pytest.raises(UserError, match="9.8 GiB.*use ICC.POSITIVE view"):
        cfg = config("ICC.POSITIVE", "memory")
        big = ICC(register(verbose=False).host.imagenet_model_dict["ResNet50"](pretrained=False), None, cfg)
        big.positive.attach(1_281_167)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("POSITIVE", "veiw", "ICC.POSITIVE.*did you mean 'view'"),
        ("QUEUE.POLICY", "cleer", "ICC.QUEUE.POLICY.*did you mean 'clear'"),
        ("QUEUE.SIZE", 0, "ICC.QUEUE.SIZE must be at least 1"),
        ("MARGIN", 1.5, "ICC.MARGIN must be between"),
        ("TEMPERATURE", 0.0, "ICC.TEMPERATURE must be above 0"),
        ("WEIGHT", -1.0, "ICC.WEIGHT must be at least 0"),
    ],
)
def test_settings_out_of_range(key, value, message):
    with pytest.raises(UserError, match=message):
        check(config(f"ICC.{key}", value).ICC)


@pytest.mark.parametrize("feature, dim", [("pooled_feat", 64), ("logits", 10), ("feats.1", 16), ("preact_feats.3", 64)])
def test_any_feature(feature, dim):
    icc, dataset = recipe("ICC.FEATURE", feature, "ICC.MARGIN", -1)
    assert icc.queues.features.shape == (10, 8, dim)
    train(icc, dataset)
    # Gradients are compared at the pooled feature and the logits alone; of the others nothing is known, not "none".
    assert (icc.diagnostics()["icc/gradient_share"] is None) == feature.startswith(("feats", "preact"))


def test_unknown_feature():
    with pytest.raises(UserError, match="no feature 'feats.9'; it has logits, feats.0"):
        recipe("ICC.FEATURE", "feats.9")


@pytest.mark.parametrize("mode", ["fixed", "gradnorm"])
def test_compiled_equals_eager(mode):
    results = []
    for wrap in (lambda module: module, lambda module: torch.compile(module, backend="aot_eager", dynamic=True)):
        icc, dataset = recipe("ICC.MARGIN", -1, "ICC.QUEUE.SIZE", 1, "ICC.WEIGHT_MODE", mode)
        forward = wrap(icc)
        for step, batch in enumerate(dataset.train):
            image, target, index = (part[:15] for part in batch)  # of 16 and more, compiled code rounds the views up
            _, parts = forward(image=image, target=target, index=index, epoch=1)
            sum(parts.values()).backward()
            if step == 2:
                break
        results.append([parts["loss_ce"].item(), parts["loss_kd"].item(), icc.student.conv1.weight.grad.norm().item()])
    assert results[1] == pytest.approx(results[0], rel=1e-4) and results[0][1] > 0


def test_theory_moves_features_by_contrast_alone():
    icc, dataset = recipe("ICC.THEORY", True, "ICC.POSITIVE", "twin", "ICC.WEIGHT", 0.5, "ICC.MARGIN", -1)
    image, target, index = next(iter(dataset.train))
    _, parts = icc(image=image, target=target, index=index, epoch=1)
    classifier, body = icc.student.fc.weight, icc.student.conv1.weight
    of_classifier, of_body = torch.autograd.grad(parts["loss_ce"], [classifier, body])
    assert of_classifier.abs().sum() > 0 and of_body.abs().sum() > 0
    with torch.no_grad():
        classifier.zero_()  # cross-entropy no longer depends on the features, L_Inter still does
    _, again = icc(image=image, target=target, index=index, epoch=1)
    assert torch.autograd.grad(again["loss_ce"], body)[0].abs().sum() > 0
    losses = train(icc, dataset, epochs=2)
    assert losses[-1]["loss_ce"] < losses[0]["loss_ce"]


def test_theory_needs_two_views():
    with pytest.raises(UserError, match="ICC.POSITIVE twin"):
        check(config("ICC.THEORY", True).ICC)
