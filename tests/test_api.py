"""Training from Python: real runs on handwritten digits, with networks, data and methods of one's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset, WeightedRandomSampler

from mdistiller_icc import TorchData, UserError, distill, register, train_teacher
from mdistiller_icc.data import digits
from mdistiller_icc.distillers.base import Distiller
from mdistiller_icc.distillers.logits import LogitDistiller
from mdistiller_icc.engine.run_folder import RunFolder, run_name
from mdistiller_icc.run import configure, run
from mdistiller_icc.settings import weight

SETTINGS = {"DATASET.NUM_WORKERS": 0, "SOLVER.BATCH_SIZE": 16, "ICC.MARGIN": -1.0}


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(32 * width, 10)

        self.squash = None

    def forward(self, image):
        logits = self.head(self.body(image))
        return logits if self.squash is None else self.squash(logits)


class Mimic(Distiller):
    def forward_train(self, image, target, **_):
        logits_teacher, _ = self.teach(image)
        logits_student, _ = self.student(image)
        loss_kd = F.mse_loss(logits_student, logits_teacher)
        return logits_student, {"loss_ce": F.cross_entropy(logits_student, target), "loss_kd": loss_kd}


@pytest.fixture(scope="module")
def images():
    """Training and test images of one's own, (3, 32, 32)."""

    def some(split, count):
        pictures = torch.from_numpy(split.images[:count]).float().div(127.5).sub(1)
        return TensorDataset(pictures, torch.from_numpy(split.labels[:count]))

    source = digits.read()
    return some(source.train, 240), some(source.test, 120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def teacher(images, folder):
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return train_teacher(Net(16), images, epochs=3, seed=1, settings=SETTINGS)


def accuracy(model, images):
    pictures, labels = images.tensors
    with torch.no_grad():
        return 100 * (model(pictures).argmax(1) == labels).float().mean().item()


def test_a_teacher_of_ones_own(teacher, images):
    assert teacher.checkpoint.parts == ("teachers", "own_tensordataset", f"{teacher.architecture}_icc_seed1.pth")
    written = torch.load(teacher.checkpoint, weights_only=True)
    assert written["meta"]["kind"] == "icc" and written["meta"]["run"].startswith("own_tensordataset/ICC,Net-")
    assert all(torch.equal(written["model"][name], tensor) for name, tensor in teacher.model.state_dict().items())
    assert teacher.top1 == pytest.approx(accuracy(teacher.model, images[1]), abs=1e-4) and teacher.top1 > 30
    assert (teacher.folder / "record.json").is_file() and teacher.record["status"] == "finished"


def test_its_student(teacher, images):
    torch.manual_seed(1)
    net = Net(4)
    student = distill(teacher, net, "DKD", epochs=3, settings=SETTINGS)
    assert student.model is net and not net.training
    assert student.top1 == pytest.approx(accuracy(net, images[1]), abs=1e-4)
    assert student.record["teacher"]["kind"] == "icc" and student.record["teacher"]["seed"] == 1
    with pytest.raises(UserError, match="holds a run already"):
        distill(teacher, Net(4), "DKD", epochs=3, settings=SETTINGS)
    again = distill(teacher, Net(4), "DKD", epochs=3, settings=SETTINGS, resume=True)  # it is finished
    assert all(torch.equal(tensor, again.model.state_dict()[name]) for name, tensor in net.state_dict().items())


def test_a_network_with_its_weights_teaches_a_network_of_the_same_kind_by_a_method_of_ones_own(teacher, images):
    before = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    student = distill(teacher.model, Net(16), Mimic, images, epochs=1, settings=SETTINGS)
    assert student.record["method"] == "Mimic" and student.record["teacher"]["kind"] == "file"
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in teacher.model.parameters())
    assert teacher.model(images[1][:2][0]).shape == (2, 10)  # what was given has no hooks


def test_loaders_keep_their_batches(teacher, images):
    train, test = images
    only = [i for i, label in enumerate(train.tensors[1]) if label < 5]
    weights = [float(i in set(only)) for i in range(len(train))]
    loader = DataLoader(train, 20, sampler=WeightedRandomSampler(weights, 100))
    own = TorchData(loader, DataLoader(test, 50), "halves", [str(i) for i in range(10)])
    seen = []

    class Seeing(Mimic):
        def forward_train(self, image, target, *, index, **_):
            assert torch.equal(image, train.tensors[0][index]) and torch.equal(target, train.tensors[1][index])
            seen.append(target)
            return super().forward_train(image, target)

    student = distill(teacher.model, Net(4), Seeing, own, epochs=1, settings=SETTINGS)
    assert [len(batch) for batch in seen] == [20] * 5 and torch.cat(seen).max() < 5
    assert student.record["dataset"] == "halves" and student.record["num_train"] == 240


def test_a_network_of_the_teachers_class_and_size_starts_from_its_own_weights(teacher, images):
    fresh = Net(16)
    before = {name: tensor.clone() for name, tensor in fresh.named_parameters()}
    still = SETTINGS | {"SOLVER.LR": 0.0, "SOLVER.WEIGHT_DECAY": 0.0}
    student = distill(teacher.model, fresh, "KD", images, epochs=1, settings=still)
    assert student.architecture == teacher.architecture
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.named_parameters())
    assert student.record["teacher"]["top1"] == pytest.approx(teacher.top1)


@pytest.mark.parametrize("as_module", [True, False])
@pytest.mark.parametrize("change", [
    lambda net: net.body.__setitem__(2, nn.Hardtanh(-1e-3, 1e-3)),
    lambda net: setattr(net, "squash", torch.tanh),
])  # fmt: skip
def test_a_network_of_the_teachers_class_and_size_keeps_its_own_layers(teacher, images, change, as_module):
    other = Net(16)
    change(other)
    taught = teacher.model if as_module else teacher
    student = distill(taught, other, "KD", images, epochs=1, settings=SETTINGS, overwrite=True)
    assert student.architecture != teacher.architecture == student.record["teacher"]["architecture"]
    assert student.top1 == pytest.approx(accuracy(other, images[1]), abs=1e-4)
    assert student.record["teacher"]["top1"] == pytest.approx(teacher.top1)


def test_networks_whose_sizes_round_alike_are_two(images):
    def net(width):
        return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, width), nn.ReLU(), nn.Linear(width, 10))

    big = [net(1800), net(1801)]
    settings = SETTINGS | {"SOLVER.LR": 0.01}
    teacher = train_teacher(big[0], images, "NONE", epochs=1, settings=settings)
    student = distill(teacher, big[1], "KD", epochs=1, settings=settings)
    assert student.architecture.startswith("Sequential-0.11M-") and student.architecture != teacher.architecture


def noise(count, seed, classes=4, size=16):
    numbers = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    grains = torch.randn(count, 3, size, size, generator=numbers) + labels[:, None, None, None]
    return TensorDataset(grains, labels)


def test_data_of_the_same_class_are_told_apart():
    first, second = (noise(64, 0), noise(32, 1)), (noise(64, 2), noise(32, 3))
    teacher = train_teacher("resnet14", first, "NONE", epochs=1, settings=SETTINGS)
    train_teacher("resnet20", second, "NONE", epochs=1, settings=SETTINGS)
    student = distill(teacher, "resnet8", "KD", epochs=1, settings=SETTINGS)
    assert student.images is teacher.images and student.images.train is first[0]
    assert student.record["protocol"]["tree"] == teacher.record["protocol"]["tree"]
    noisy = TensorDataset(first[0].tensors[0], first[0].tensors[1].flip(0))
    for data in (second, (noisy, first[1]), (noise(40, 0), first[1])):
        with pytest.raises(UserError, match="holds the teacher of .*, of other images than these"):
            train_teacher("resnet14", data, "NONE", epochs=1, settings=SETTINGS, resume=True)
        with pytest.raises(UserError, match="holds the teacher of .*, of other images than these"):
            train_teacher("resnet14", data, "NONE", epochs=2, settings=SETTINGS)  # else the shorter one gives way
        with pytest.raises(UserError, match="cannot be resumed: it was begun on other images than these$"):
            distill(teacher, "resnet8", "KD", data, epochs=1, settings=SETTINGS, resume=True)
    again = noise(64, 0), noise(32, 1)
    assert train_teacher("resnet14", again, "NONE", epochs=1, settings=SETTINGS, resume=True).top1 == teacher.top1


class Augmented(torch.utils.data.Dataset):
    classes = ("even", "odd")

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return torch.rand(3, 16, 16), index % 2


def test_augmented_images_are_known_again():
    runs = [train_teacher("resnet8", (Augmented(), noise(16, 1, 2)), "NONE", epochs=1, settings=SETTINGS, resume=resume)
            for resume in (False, True)]  # fmt: skip
    assert runs[0].record["finished"] == runs[1].record["finished"]


@pytest.mark.parametrize(
    "images, labels", [(torch.Tensor.double, torch.Tensor.int), (torch.Tensor.half, torch.Tensor.byte)]
)
def test_other_numbers_are_taken(images, labels):
    x, y = noise(64, 0).tensors
    data = TorchData(*[TensorDataset(images(x), labels(y))] * 2, name=f"numbers_{labels.__name__}")
    assert train_teacher("resnet8", data, "ICC", epochs=1, settings=SETTINGS).record["num_classes"] == 4


def test_large_images_have_the_networks_for_large_ones():
    data = TorchData(noise(6, 0, 2, 72), noise(4, 1, 2, 72), name="large")
    assert train_teacher("MobileNetV1", data, "NONE", epochs=1, settings=SETTINGS).record["num_test"] == 4


X, Y = noise(64, 0).tensors


@pytest.mark.parametrize("train, test, message", [
    ((X, F.one_hot(Y).float()), (X, Y), r"train, image 0: wanted one whole number as its label, got \(4,\)"),
    ((X, Y), (X, F.one_hot(Y)), r"test, image 0: wanted one whole number .* got \(4,\) of torch.int64"),
    ((X, Y[:, None]), (X, Y), r"train, image 0: wanted one whole number .* got \(1,\)"),
    ((X, Y.float()), (X, Y), r"train, image 0: wanted one whole number .* got \(\) of torch.float32"),
    ((X,), (X, Y), "train, image 0: wanted one whole number as its label, got none"),
    ((X, Y + 1), (X, Y + 1), "labels begin at 1, not at 0"),
    ((X, Y % 3), (X, Y), "test: a label 3, and 3 classes, 0 to 2"),
    ((X, Y), (X, torch.where(torch.arange(64) == 5, -1, Y)), "test: a label -1, and 4 classes"),
    ((X.byte(), Y), (X, Y), "train, image 0: wanted floats, got torch.uint8"),
    ((X, Y), (X[:0], Y[:0]), "test: has no images"),
    ((X.to("meta"), Y), (X, Y), "train, image 0: is on meta; wanted images in main memory"),
])  # fmt: skip
def test_what_are_no_images_with_labels(train, test, message):
    with pytest.raises(UserError, match=f"own_tensordataset: {message}" if "begin" not in message else message):
        train_teacher("resnet8", (TensorDataset(*train), TensorDataset(*test)), "NONE", epochs=1)


class Row(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(noise(8, 0, 2))


@pytest.mark.parametrize("train, test, message", [
    (Row(), noise(8, 1, 2), "train: wanted a data set whose images have numbers"),
    (list(noise(4, 0)) + list(noise(4, 0, 4, 20)), noise(8, 1), "train: images of 16 and 20 pixels"),
    (noise(8, 0), DataLoader(noise(9, 1), 4, drop_last=True), "the test loader leaves images out"),
])  # fmt: skip
def test_what_cannot_be_trained_on(train, test, message):
    with pytest.raises(UserError, match=f"of_mine: {message}"):
        train_teacher("resnet8", TorchData(train, test, "of_mine", "abcd"), "NONE", epochs=1)


class Alone(Mimic):
    def forward_train(self, image, target, **_):
        return F.cross_entropy(self.student(image)[0], target)


class Total(Mimic):
    def forward_train(self, image, target, **_):
        logits, losses = super().forward_train(image, target)
        return logits, {"loss": losses["loss_ce"] + losses["loss_kd"]}


@pytest.mark.parametrize("method, settings, message", [
    (nn.Module, {}, "wanted a class made from mdistiller_icc.distillers.base.Distiller, got Module$"),
    (Mimic(nn.Linear(1, 1)), {}, "wanted a class made from .*, got a Mimic$"),
    (Alone, {}, "^Alone: its forward_train must return .logits, {.*}., tensors; it returned Tensor$"),
    (Total, {"SOLVER.TRAINER": "dot"}, "^SOLVER.TRAINER dot parts two losses, and Total trains on no loss_ce$"),
    ("Total+KD", {}, "^Total has no loss_ce, only loss$"),
])  # fmt: skip
def test_methods_of_ones_own_that_are_none(method, settings, message, teacher):
    with pytest.raises(UserError, match=message):
        distill(teacher, Net(4), method, epochs=1, settings=SETTINGS | settings)


class Weighted(Mimic):
    node = "MIMICRY"
    settings = {"WEIGHT": weight(1.0, "the squared difference of the logits")}

    def __init__(self, student, teacher, cfg):
        super().__init__(student, teacher)
        self.weight = cfg.MIMICRY.WEIGHT


class OnLogits(LogitDistiller):
    node = "OF_LOGITS"
    settings = {"CE_WEIGHT": weight(1.0, "cross-entropy"), "WEIGHT": weight(2.0, "the difference of the logits")}

    def logit_loss(self, logits_student, logits_teacher, target, epoch):
        return self.own.WEIGHT * (logits_student - logits_teacher).abs().mean()


@pytest.mark.parametrize("method", [Weighted, OnLogits])
@pytest.mark.parametrize("registered", [True, False])
def test_a_method_of_ones_own_names_its_node(teacher, method, registered):
    host = register(verbose=False).host
    if registered:  # as a file for the commands does
        host.distiller_dict[method.node] = method
    for value in (0.5, 0.25):
        settings = SETTINGS | {f"{method.node}.WEIGHT": value}
        run = distill(teacher, Net(4), method, epochs=1, settings=settings, overwrite=True)
        assert run.record["method"] == method.node and run.record["method_config"]["WEIGHT"] == value
    for names in (host.distiller_dict, host.CFG):  # for whom comes after
        del names[method.node]


class Late(Mimic):
    """With a layer of its own that has a gradient from the second epoch on."""

    def __init__(self, student, teacher):
        super().__init__(student, teacher)
        self.late = nn.Linear(10, 10)

    def forward_train(self, image, target, epoch, **rest):
        logits, losses = super().forward_train(image, target, **rest)
        return logits, losses | ({"loss_late": self.late(logits).square().mean()} if epoch > 1 else {})


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_layer_may_come_in_later(teacher, optimizer):
    settings = SETTINGS | {"SOLVER.TYPE": optimizer, "SOLVER.LR": 0.001}
    run = distill(teacher, Net(4), Late, epochs=3, settings=settings)
    assert [("loss_late" in line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()] == [0, 1, 1]


def test_a_method_of_ones_own_may_name_its_losses(teacher):
    metrics = (distill(teacher, Net(4), Total, epochs=1, settings=SETTINGS).folder / "metrics.jsonl").read_text()
    assert '"loss": ' in metrics


TRAIN, TEST = noise(8, 0), noise(8, 1)


def small(classes):
    layers = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("call, message", [
    (lambda given: train_teacher(small(3), (TRAIN, TEST), **given), "makes 3 logits, and own_.* has 4 cl"),
    (lambda given: train_teacher(small(9), (TRAIN, TEST), **given), "makes 9 logits, and own_.* has 4 cl"),
    (lambda given: distill(small(9), small(4), "KD", (TRAIN, TEST), **given), "^Seq.* makes 9 logits"),
    (lambda given: train_teacher(small(4), (DataLoader(TRAIN, 9, drop_last=True), TEST), **given), "drop_last"),
    (lambda given: train_teacher(small(4), (DataLoader(TRAIN, 7), TEST), **given), "train on a batch of one"),
])  # fmt: skip
def test_what_would_fail_in_the_first_step_is_told_before_a_folder_is_made(call, message, folder):
    with pytest.raises(UserError, match=message):
        call({"epochs": 1, "settings": {"EXPERIMENT.NAME": "not_begun"}})
    assert not list(folder.glob("output/*/not_begun*"))


@pytest.mark.parametrize("key, value", [
    ("IMAGE_SIZE", 32), ("MEAN", [0.5, 0.5, 0.5]), ("STD", [0.5, 0.5, 0.5]), ("LOADER", "workers"), ("HOLDOUT", 0.1),
])  # fmt: skip
def test_settings_that_say_nothing_of_given_images(key, value):
    settings = SETTINGS | {f"DATASET.{key}": value, "EXPERIMENT.NAME": "not_begun"}
    with pytest.raises(UserError, match=rf"DATASET.{key} .*: own_tensordataset is given as it is; "):
        train_teacher("resnet8", (noise(64, 0), noise(32, 1)), "NONE", epochs=1, settings=settings)


def test_the_size_that_given_images_have_may_be_named():
    settings = SETTINGS | {"DATASET.IMAGE_SIZE": "16"}
    data = TorchData(noise(64, 0, 10), noise(32, 1, 10), name="of_sixteen")
    assert train_teacher(Net(2), data, "NONE", epochs=1, settings=settings).record["protocol"]["image_size"] == 16


@pytest.mark.parametrize("method", ["RKD", "CRD"])
def test_methods_that_need_more(method, teacher):
    assert distill(teacher, Net(4), method, epochs=1, settings=SETTINGS).record["status"] == "finished"


@pytest.mark.parametrize("method", ["ICC", "NONE"])
def test_it_is_the_run_of_the_command_line(method):
    options = {"DATASET.FRACTION": 0.1, "SOLVER.BATCH_SIZE": 16, "ICC.MARGIN": -1}
    ours = train_teacher("resnet8", "digits", method, epochs=1, settings=options)
    pairs = ["DATASET.TYPE", "digits", "DISTILLER.TYPE", method, "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "1"]
    pairs += [str(part) for pair in options.items() for part in pair]
    cfg = configure(None, pairs)
    run(cfg, "student", options=pairs)
    theirs = RunFolder(cfg, run_name(cfg, pairs)).path / "student_latest"
    state = torch.load(theirs, weights_only=True)["model"]
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.model.state_dict().items())
    assert ours.model(torch.zeros(1, 3, 32, 32))[0].shape == (1, 10)


@pytest.mark.parametrize("call, message", [
    (lambda t, i: distill(t.model, Net(4)), "wanted data"),
    (lambda t, i: train_teacher(Net(4), TorchData(*i, name="digits")), "'digits' is a data set of its own already"),
    (lambda t, i: train_teacher(Net(4), ([(i[0][0][0], 0)], i[1])), "list does not say its classes"),
    (lambda t, i: train_teacher(Net(4), (i[0], TensorDataset(torch.zeros(9, 1, 8, 8)))), r"got \(1, 8, 8\)"),
    (lambda t, i: train_teacher(Net(4), i, settings={"DATASET.FRACTION": 0.5}), "take a torch Subset"),
    (lambda t, i: train_teacher(Net(4), (DataLoader(i[0], collate_fn=list), i[1])), "give its data set instead"),
    (lambda t, i: train_teacher(Net(4), (Subset(i[0], range(9)), i[1]), "ICCC"), "did you mean 'ICC'"),
    (lambda t, i: distill(t, Net(4), type("KD", (Mimic,), {})), "there is a distiller KD already"),
    (lambda t, i: distill(t, Net(4), "CRLD"), "CRLD wants a weak and a strong view of each image; own_t.* has one$"),
    (lambda t, i: distill(t, Net(4), "MLKD"), "given as torch objects, has one .MLKD.STRONG_VIEW False does without.$"),
    (lambda t, i: distill(t, "resnet9"), "no network 'resnet9'.*did you mean"),
])  # fmt: skip
def test_mistakes(call, message, teacher, images):
    with pytest.raises(UserError, match=message):
        call(teacher, images)


def test_the_package_is_imported_without_torch_and_tells_its_names():
    code = """
import sys, mdistiller_icc
assert "torch" not in sys.modules
assert set(mdistiller_icc.__all__) <= set(dir(mdistiller_icc))
try:
    mdistiller_icc.nothing
except AttributeError as error:
    print(error)
help(mdistiller_icc)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "module 'mdistiller_icc' has no attribute 'nothing'" in told
    for name in ("class ICCLoss(", "class Trained(", "train_teacher(", "distill(", "with_features(", "register("):
        assert name in told


def test_registering_is_still_one_call():
    assert register(verbose=False).host.name in ("builtin", "mdistiller")
