"""The ICC recipe on real images: handwritten digits, resnet8."""

from __future__ import annotations

import math
import re
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F

from mdistiller_icc import data
from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.engine.generators import seed_everything
from mdistiller_icc.errors import UserError
from mdistiller_icc.icc import ICC
from mdistiller_icc.icc.settings import PLAIN, SETTINGS, weak
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure
from mdistiller_icc.settings import check

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
    assert told["icc/anchors"] > 0 and told["icc/passed"] > 0.5 and told["icc/weight"] == pytest.approx(0.1)
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
    assert icc.loss.queues.count.sum() == 0
    icc.loss.margin = -1e-6
    icc(image=batch[0], target=batch[1], index=batch[2], epoch=1)
    assert icc.loss.queues.count.sum() == 4


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_architecture_takes_a_step(name):
    cfg = config("ICC.POSITIVE", "twin", "ICC.MARGIN", -1, "ICC.QUEUE.POLICY", "slide", "DATASET.TYPE", "cifar100")
    model = cifar_model_dict[name][0](num_classes=100)
    icc = ICC(model, None, cfg).train()
    icc.views = lambda index, rows: torch.randn(len(index[rows]), 3, 32, 32)
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
    assert icc.loss.queues.count.sum() == 0
    image, target, index = next(iter(dataset.train))
    icc(image=image, target=target, index=index, epoch=2)
    assert icc.loss.queues.count.sum() > 0


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


class PlainRecipe:
    """The recipe in plain Python, one sample at a time: gate, class queue, Eq. (3), mean."""

    def __init__(self, node):
        self.node, self.queues, self.memory, self.waiting = node, defaultdict(list), {}, []

    def loss(self, logits, features, target, index):
        """L_Intra of one step, given rows of floats: ``features`` of the batch and then of the second views."""
        node, batch = self.node, len(target)
        if node.SIMILARITY == "cosine":
            features = [[x / math.hypot(*row) for x in row] for row in features]
        met = []
        for row, f, y, image in zip(logits, features, target, index, strict=False):
            p = [math.exp(o - max(row)) for o in row]
            passed = (p[y] - max(p[:y] + p[y + 1 :])) / sum(p) > node.MARGIN
            queue = self.queues[y]
            full = len(queue) == node.QUEUE.SIZE
            anchor = passed and (full or node.QUEUE.POLICY == "slide")
            met.append([held for number, held in queue if number != image] if anchor else [])
            if passed and node.QUEUE.POLICY == "clear" and full:
                queue.clear()
            elif passed:
                self.queues[y] = [*queue, (image, f)][-node.QUEUE.SIZE :]
        if node.POSITIVE == "view":
            tuplets = [(view, *held) for view, held in zip(features[batch:], self.waiting, strict=True)]
            self.waiting = [(features[i], met[i]) for i in range(batch) if met[i]]
        else:
            positives = features[batch:] if node.POSITIVE == "twin" else [self.memory.get(image) for image in index]
            tuplets = [(features[i], positives[i], met[i]) for i in range(batch) if met[i] and positives[i] is not None]
            self.memory.update(zip(index, features[:batch], strict=True))

        def dot(a, b):
            return math.fsum(x * y for x, y in zip(a, b, strict=True)) / node.TEMPERATURE

        each = [math.log1p(math.fsum(math.exp(dot(x, n) - dot(x, p)) for n in ns)) for x, p, ns in tuplets]
        count = batch if node.REDUCTION == "batch" else max(len(each), 1)
        return math.fsum(each) / count


@pytest.mark.parametrize("positive", ["view", "twin", "memory"])
@pytest.mark.parametrize("policy", ["clear", "slide"])
@pytest.mark.parametrize("similarity, reduction", [("dot", "anchors"), ("cosine", "batch"), ("dot", "batch")])
def test_equals_the_recipe_in_plain_python(positive, policy, similarity, reduction):
    options = ["ICC.POSITIVE", positive, "ICC.QUEUE.POLICY", policy, "ICC.SIMILARITY", similarity]
    options += ["ICC.REDUCTION", reduction, "ICC.QUEUE.SIZE", 2, "ICC.MARGIN", 0.0, "ICC.TEMPERATURE", 2.0]
    icc, _ = recipe(*options, "ICC.WEIGHT", 0.75)
    icc.double()
    plain, source, nonzero = PlainRecipe(config(*options).ICC), torch.Generator().manual_seed(0), 0
    for _ in range(6):
        target, index = torch.arange(24) % 3, torch.randperm(30, generator=source)[:24]
        count = len(index) + len(icc.loss.second_views(index))
        feature = torch.randn(count, 64, generator=source, dtype=torch.float64).requires_grad_()
        logits = torch.randn(24, 10, generator=source, dtype=torch.float64)
        logits[torch.arange(24), target] += 1.5  # about half of them pass
        found = icc.losses(logits, feature, target, index)["loss_kd"]
        expected = 0.75 * plain.loss(logits.tolist(), feature.tolist(), target.tolist(), index.tolist())
        assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        (gradient,) = torch.autograd.grad(found, feature)
        moving = gradient.abs().sum(1) > 0  # anchors, and with twin their second views; nothing that only waits
        if positive == "view":
            assert not moving[: len(index)].any()
        nonzero += found.item() > 0
    assert nonzero >= 3


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("positive", ["view", "twin", "memory"])
@pytest.mark.parametrize("policy", ["clear", "slide"])
def test_gradnorm_gives_an_anchor_the_share_of_a_samples_cross_entropy(policy, positive, similarity, monkeypatch):
    """However many anchors there are: both gradients are taken here one sample at a time, through the network's end."""
    monkeypatch.setattr("mdistiller_icc.icc.weight.MOMENTUM", 0.0)
    monkeypatch.setattr("mdistiller_icc.icc.weight.MAXIMUM", 1e9)
    icc, _ = recipe(
        "ICC.WEIGHT_MODE", "gradnorm", "ICC.GRADNORM.SHARE", 0.3, "ICC.MARGIN", -1, "ICC.QUEUE.SIZE", 2,
        "ICC.POSITIVE", positive, "ICC.QUEUE.POLICY", policy, "ICC.SIMILARITY", similarity,
        "ICC.REDUCTION", "anchors",
    )  # fmt: skip
    source = torch.Generator().manual_seed(0)
    target, index = torch.arange(24) % 3, torch.arange(24)
    for _ in range(3):
        count = len(index) + len(icc.loss.second_views(index))
        z = torch.randn(count, 64, generator=source).requires_grad_()
        logits = icc.student.fc(z)[:24]
        losses = icc.losses(logits, z, target, index)
    of_ce = [torch.autograd.grad(F.cross_entropy(logits[i : i + 1], target[i : i + 1]), z, retain_graph=True)[0].norm()
             for i in range(24)]  # fmt: skip
    (of_intra,) = torch.autograd.grad(losses["loss_kd"], z)  # the mean over the anchors of λ L_Intra
    share = of_intra.norm(dim=1).sum() / torch.stack(of_ce).mean()
    assert share.item() == pytest.approx(0.3, rel=1e-4)


def test_gradnorms_weight_does_not_depend_on_how_many_anchors_there_are():
    weights = []
    for policy in ("clear", "slide"):
        icc, dataset = recipe("ICC.WEIGHT_MODE", "gradnorm", "ICC.QUEUE.POLICY", policy, "ICC.MARGIN", -1)
        train(icc, dataset, epochs=2)
        weights.append(icc.diagnostics()["icc/weight"])
    assert weights[1] == pytest.approx(weights[0], rel=0.1)


def test_memory_is_refused_where_it_would_not_fit():
    icc, _ = recipe("ICC.POSITIVE", "memory")
    with pytest.raises(UserError, match="9.8 GiB.*use ICC.POSITIVE view"):
        cfg = config("ICC.POSITIVE", "memory")
        big = ICC(register(verbose=False).host.imagenet_model_dict["ResNet50"](pretrained=False), None, cfg)
        big.loss.positive.attach(1_281_167)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("POSITIVE", "veiw", "ICC.POSITIVE.*did you mean 'view'"),
        ("QUEUE.POLICY", "cleer", "ICC.QUEUE.POLICY.*did you mean 'clear'"),
        ("QUEUE.SIZE", 0, "ICC.QUEUE.SIZE must be at least 1"),
        ("MARGIN", 1.5, "ICC.MARGIN must be between -1 and 1"),
        ("TEMPERATURE", 0.0, "ICC.TEMPERATURE must be between 0.001 and 1000"),
        ("WEIGHT", -1.0, "ICC.WEIGHT must be at least 0"),
    ],
)
def test_settings_out_of_range(key, value, message):
    with pytest.raises(UserError, match=message):
        check(config(f"ICC.{key}", value), {"ICC": SETTINGS})


def test_a_teacher_that_would_never_be_icc_is_told():
    for warmup in (5, 6):
        with pytest.raises(UserError, match=f"ICC.WARMUP {warmup} of SOLVER.EPOCHS 5: ICC would never begin"):
            ICC.check(config("ICC.WARMUP", warmup, "SOLVER.EPOCHS", 5))
    ICC.check(config("ICC.WARMUP", 4, "SOLVER.EPOCHS", 5))
    off, _ = recipe("ICC.WEIGHT", 0)
    ICC.check(config("ICC.WEIGHT", 0))  # one end of a sweep
    assert [off.warnings({"epoch": epoch}) for epoch in (1, 2)] == [[PLAIN], []]


@pytest.mark.parametrize("options, told", [
    ([], None),
    (["ICC.WEIGHT", 0.02], "ICC.WEIGHT 0.02 is for ICC.REDUCTION anchors: .* at most 1/9, and the recipe does little$"),
    (["ICC.WEIGHT", 0.02, "ICC.REDUCTION", "anchors"], None),
    (["ICC.WEIGHT", 0.02, "ICC.QUEUE.POLICY", "slide"], None),
    (["ICC.WEIGHT_MODE", "gradnorm"], "ICC.GRADNORM.SHARE 0.1 is for ICC.REDUCTION anchors"),
    (["ICC.WEIGHT_MODE", "gradnorm", "ICC.GRADNORM.SHARE", 1.0], None),
])  # fmt: skip
def test_the_papers_weight_with_the_other_average_is_told_once(options, told):
    line = weak(config(*options).ICC)
    assert re.search(told, line) if told else line is None
    icc, _ = recipe(*options)
    figures = {"loss_ce": 1.0, "train_top1": 10.0} | icc.diagnostics()
    assert [icc.warnings({"epoch": epoch} | figures) for epoch in (1, 2)] == [[line] if told else [], []]


@pytest.mark.parametrize("feature, dim", [("pooled_feat", 64), ("logits", 10), ("feats.1", 16), ("preact_feats.3", 64)])
def test_any_feature(feature, dim):
    icc, dataset = recipe("ICC.FEATURE", feature, "ICC.MARGIN", -1)
    assert icc.loss.queues.features.shape == (10, 8, dim)
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
            image, target, index = batch
            _, parts = forward(image=image, target=target, index=index, epoch=1)
            sum(parts.values()).backward()
            if step == 2:
                break
        results.append([parts["loss_ce"].item(), parts["loss_kd"].item(), icc.student.conv1.weight.grad.norm().item()])
    assert results[1] == pytest.approx(results[0], rel=1e-4) and results[0][1] > 0


def test_a_state_from_before_the_loss_was_a_module_of_its_own_is_taken_up():
    icc, dataset = recipe("ICC.MARGIN", -1)
    train(icc, dataset)
    old = {name.removeprefix("loss."): value for name, value in icc.state_dict().items()}
    assert "queues.features" in old and "_extra_state" in old
    again, _ = recipe("ICC.MARGIN", -1, seed=1)
    again.load_state_dict(old)
    assert same(icc.student, again.student) and torch.equal(icc.loss.queues.index, again.loss.queues.index)


def test_a_recipe_with_a_layer_of_its_own_is_loaded_too():
    class Mine(ICC):
        def __init__(self, student, teacher, cfg):
            super().__init__(student, teacher, cfg)
            self.head = torch.nn.Linear(64, 8)

    def made(seed):
        seed_everything(seed)
        return Mine(register(verbose=False).host.cifar_model_dict["resnet8"][0](num_classes=10), None, config())

    mine, again = made(0), made(1)
    again.load_state_dict(mine.state_dict())
    assert same(mine.student, again.student) and same(mine.head, again.head)
