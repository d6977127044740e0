"""Networks of timm and torchvision by name, on handwritten digits."""

from __future__ import annotations

import copy
import importlib.util
import json

import pytest
import torch
import torch.nn.functional as F

from mdistiller_icc import data
from mdistiller_icc.commands.entry import main
from mdistiller_icc.distillers import base
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import check, configure
from mdistiller_icc.teachers import resolve, weights
from mdistiller_icc.zoo import ZooNetwork, admit

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
MOBILENET, SHUFFLENET, RESNET18 = (
    f"torchvision/{name}" for name in ("mobilenet_v3_small", "shufflenet_v2_x0_5", "resnet18")
)
DIGITS = ["DATASET.TYPE", "digits"]


@pytest.fixture
def models():
    """The built-in host's networks, without what this file's tests add to them."""
    return dict(register(verbose=False).host.cifar_model_dict)


def own(name, classes=10):
    """The zoo's own network, with logits alone."""
    zoo, _, model = name.partition("/")
    if zoo == "timm":
        import timm

        return timm.create_model(model, num_classes=classes)
    from torchvision.models import get_model

    return get_model(model, num_classes=classes)


@pytest.mark.parametrize("name, size, stages, dim", [
    pytest.param("timm/test_resnet", 32, [(32, 16), (32, 8), (48, 4), (192, 2), (96, 1)], 96, marks=needs_timm),
    pytest.param("timm/test_convnext", 32, [(24, 8), (24, 8), (32, 4), (48, 2), (64, 1)], 64, marks=needs_timm),
    pytest.param("timm/test_byobnet", 64, [(24, 32), (32, 16), (64, 8), (128, 4), (256, 2)], 256, marks=needs_timm),
    pytest.param("timm/test_vit", 160, [(64, 10)] * 7, 64, marks=needs_timm),
    (MOBILENET, 32, [(16, 16), (16, 8), (24, 4), (48, 2), (576, 1)], 1024),
    (SHUFFLENET, 64, [(24, 32), (24, 16), (48, 8), (96, 4), (1024, 2)], 1024),
    ("torchvision/densenet121", 32, [(64, 16), (256, 8), (512, 4), (1024, 2), (1024, 1)], 1024),
    ("torchvision/swin_t", 32, [(96, 8), (96, 8), (192, 4), (384, 2), (768, 1)], 768),
])  # fmt: skip
def test_it_is_the_zoos_network_and_hands_out_its_features(name, size, stages, dim):
    theirs = own(name).eval()
    ours = ZooNetwork.named(name)(10).eval()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict()) and type(ours).__name__ == type(theirs).__name__
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        for network in (ours, copy.deepcopy(ours)):
            logits, features = network(image)
            torch.testing.assert_close(logits, theirs(image))
    assert [tuple(feature.shape) for feature in features["feats"]] == [(2, d, side, side) for d, side in stages]
    assert all(torch.equal(a, b) for a, b in zip(features["feats"], features["preact_feats"], strict=True))
    head = [layer for layer in ours.modules() if isinstance(layer, torch.nn.Linear)][-1]
    assert features["pooled_feat"].shape == (2, dim)
    torch.testing.assert_close(head(features["pooled_feat"]), logits)


@needs_timm
def test_images_are_resized_for_a_network_of_one_size():
    network = ZooNetwork.named("timm/test_vit")(10).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        small, _ = network(image)
        large, _ = network(F.interpolate(image, (160, 160), mode="bilinear"))
        shrunk, _ = network(F.interpolate(image, (320, 320), mode="nearest"))
    torch.testing.assert_close(small, large)
    assert shrunk.shape == (2, 10) and not torch.allclose(shrunk, large)


@pytest.fixture(scope="module")
def images():
    cfg = configure(None, [*DIGITS, "SOLVER.BATCH_SIZE", "8", "DATASET.FRACTION", "0.1"])
    return data.load(cfg, 0, torch.device("cpu"))


def step(method, teacher, student, images):
    """A training step; returns the student."""
    if register(verbose=False).host.name != "builtin":
        pytest.skip("of mdistiller's methods some are its own")
    more = ["DISTILLER.TEACHER", f"{teacher}_icc", "DISTILLER.STUDENT", student, "CRD.NCE.K", "16"]
    cfg = configure(None, [*DIGITS, "DISTILLER.TYPE", method, *more])
    found = check(cfg)
    networks = [resolve.build(found.models, name, cfg, 10) for name in (student, teacher)]
    distiller = base.build(found.distiller, *networks, cfg, images.num_data).train()
    distiller.attach(images.train)
    image, target, index = next(iter(images.train))
    logits, losses = distiller(image=image, target=target, index=index, epoch=1)
    sum(losses.values()).backward()
    assert logits.shape == (8, 10) and torch.isfinite(losses["loss_kd"])
    return networks[0]


@needs_timm
@pytest.mark.parametrize("method", ["KD", "RKD", "CRD", "AT", "FITNET", "NST", "SP", "VID", "REVIEWKD", "DKD+AT"])
def test_methods_train_on_it(method, images):
    student = step(method, "timm/test_resnet", MOBILENET, images)
    assert next(student.parameters()).grad.abs().sum() > 0


@needs_timm
@pytest.mark.parametrize("method", ["SDD", "KD+SDD", "SIMKD", "CATKD"])
def test_last_maps_are_found(method, images):
    student = step(method, "timm/test_resnet", RESNET18, images)
    assert next(student.parameters()).grad.abs().sum() > 0


@needs_timm
@pytest.mark.parametrize("method, message", [
    ("AT", "no stage of the same resolution to compare: 32×32, 16×16, 8×8 against 10×10"),
    ("KD+AT", "no stage of the same resolution to compare"),
    ("SDD", "the teacher VisionTransformer has no feature map whose average its classifier takes"),
    ("OFD", "VisionTransformer cannot be OFD's teacher"),
])  # fmt: skip
def test_what_a_pair_lacks_is_told_in_a_line(method, message, images):
    with pytest.raises(UserError, match=message):
        step(method, "timm/test_vit", "resnet8", images)


@pytest.mark.parametrize("name, message", [
    pytest.param("timm/convnext_tinny", "timm has no network 'convnext_tinny' .did you mean 'convnext_tiny'",
                 marks=needs_timm),
    pytest.param("timm/test_vit.r16_in1k", "timm has no weights 'r16_in1k' of test_vit .did you mean 'r160_in1k'",
                 marks=needs_timm),
    ("torchvision/vit_b_61", "torchvision has no network 'vit_b_61' .did you mean 'vit_b_16'"),
    ("torchvision/resnet18.V1", "torchvision has no weights 'V1' of resnet18; it has IMAGENET1K_V1"),
    ("keras/resnet18", "no network 'keras/resnet18.*' for digits"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["", "_icc", "_vanilla"])
def test_an_unknown_name_is_one_line(name, message, kind, models):
    with pytest.raises(UserError, match=rf"^DISTILLER.STUDENT: {message}"):
        resolve.architecture(models, name + kind, "DISTILLER.STUDENT", "digits")


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_it_says_what_to_install(models):
    with pytest.raises(UserError, match="pip install 'mdistiller_icc.timm.'"):
        resolve.architecture(models, "timm/test_vit", "DISTILLER.STUDENT", "digits")


def test_a_hosts_dictionary_has_it_in_the_dictionarys_form():
    host = register(verbose=False).host
    for registry in (host.cifar_model_dict, host.imagenet_model_dict):
        models = dict(registry)
        admit(models, SHUFFLENET, "DISTILLER.STUDENT")
        entry, other = models[SHUFFLENET], next(iter(registry.values()))
        assert isinstance(entry, tuple) == isinstance(other, tuple)
        factory = entry[0] if isinstance(entry, tuple) else entry
        assert factory(num_classes=7)(torch.randn(2, 3, 32, 32))[0].shape == (2, 7)


def test_a_teacher_is_trained_taken_evaluated_exported_and_its_student_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    common = [*DIGITS, "DATASET.FRACTION", "0.05", "SOLVER.BATCH_SIZE", "16", "SOLVER.LR_DECAY_STAGES", "[]"]
    teacher = [*common, "DISTILLER.STUDENT", SHUFFLENET, "SOLVER.EPOCHS", "1", "EXPERIMENT.NAME", "teacher"]
    assert main(["teacher", "--cfg", "icc/res110", *teacher]) == 0
    file = tmp_path / "teachers/digits" / f"{SHUFFLENET}_icc.pth"
    assert file.is_file()
    student = [*common, "DISTILLER.TYPE", "DKD", "DISTILLER.TEACHER", f"{SHUFFLENET}_icc"]
    student += ["DISTILLER.STUDENT", MOBILENET, "EXPERIMENT.TAG", "student"]
    # A teacher of one epoch may be no better than chance, which is said only where its students train for longer.
    assert main(["train", *student, "SOLVER.EPOCHS", "2"]) == 0
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("output/distill/student*/record.json"))
    assert record["student"] == {"architecture": MOBILENET} and record["teacher"]["architecture"] == SHUFFLENET
    assert "/" not in record["name"] and record["status"] == "finished"
    assert main(["train", "--resume", *student, "SOLVER.EPOCHS", "2"]) == 0
    (latest,) = tmp_path.glob("output/distill/student*/student_latest")
    weights.load(ZooNetwork.named(MOBILENET)(10), latest, MOBILENET)
    capsys.readouterr()
    assert main(["eval", str(file)]) == 0
    assert f"network: {SHUFFLENET}, icc" in capsys.readouterr().out
    assert main(["export", str(latest), "--out", "plain.pth"]) == 0
    own(MOBILENET).load_state_dict(torch.load(tmp_path / "plain.pth", weights_only=True))


def test_weights_of_other_classes_are_no_teachers(models):
    cfg = configure(None, [*DIGITS, "DISTILLER.TEACHER", RESNET18])
    with pytest.raises(UserError, match=r"for the 1,000 classes of imagenet, and this digits has 10; take .*_vanilla"):
        resolve.load(models, cfg, tuple("0123456789"))


@pytest.fixture
def hub(tmp_path):
    """The folder of a hub's downloads, with weights of a network for 1,000 classes; and those weights."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = own("timm/test_vit", 1000).state_dict()
    folder = tmp_path / "hub/models--timm--test_vit.r160_in1k"
    for part in ("refs", "snapshots/1"):
        (folder / part).mkdir(parents=True)
    (folder / "refs/main").write_text("1")
    save_file(state, folder / "snapshots/1/model.safetensors")
    return {"HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}, state


TRAIN = ["tools/train_teacher.py", *DIGITS, "DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "timm/test_vit.r160_in1k"]


@needs_timm
def test_training_begins_from_a_hubs_weights(command, hub, tmp_path):
    environment, state = hub
    short = ["SOLVER.EPOCHS", "1", "SOLVER.LR", "0", "SOLVER.LR_DECAY_STAGES", "[]", "DATASET.FRACTION", "0.02"]
    done = command(*TRAIN, *short, env=environment)
    assert done.returncode == 0, done.stderr
    assert "DATASET.MEAN [0.5, 0.5, 0.5] DATASET.STD [0.5, 0.5, 0.5]; this run has others" in done.stdout
    trained = torch.load(tmp_path / "teachers/digits/timm/test_vit.r160_in1k_vanilla.pth", weights_only=True)["model"]
    assert trained.keys() == state.keys()
    assert all(torch.equal(trained[key], state[key]) for key in state if not key.startswith("head."))
    assert trained["head.weight"].shape[0] == 10
    resumed = command(*TRAIN, *short, "--resume", env=environment | {"HF_HUB_CACHE": str(tmp_path)})  # which has none
    assert resumed.returncode == 0, resumed.stderr


@needs_timm
def test_without_a_network_it_says_where_weights_may_be(command, tmp_path):
    done = command(*TRAIN, env={"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert line.startswith("error: timm/test_vit.r160_in1k: its weights cannot be had from timm/test_vit.r160_in1k (")
    assert "DISTILLER.TEACHER_CKPT" in line and "Traceback" not in done.stderr
