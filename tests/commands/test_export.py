"""``mdistiller-icc export``: what is in the files, read by those they are for."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict, tiny_imagenet_model_dict
from mdistiller_icc.commands import formats
from mdistiller_icc.commands.entry import main
from mdistiller_icc.errors import UserError, exit_status
from mdistiller_icc.run.network import About, about

ONNX = all(importlib.util.find_spec(module) for module in ("onnx", "onnxscript", "onnxruntime"))
IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def difference(told: str) -> float:
    return float(re.search(r"largest difference of a logit on 64 test images of digits: (\S+) ", told)[1])


@pytest.mark.parametrize("ending", ["pth", "pt"])
def test_a_runs_student_alone_as_a_plain_state_dict(here, printed, network, ending):
    assert difference(printed("export", "run/best", "--out", f"student.{ending}")) == 0
    state = torch.load(here / f"student.{ending}", weights_only=True)
    assert type(state) is dict and state.keys() == network.state_dict().keys()
    again = cifar_model_dict["resnet8"][0](num_classes=10).eval()
    again.load_state_dict(state)
    assert torch.equal(again(IMAGES)[0], network(IMAGES)[0])


def test_safetensors(here, printed, network):
    safetensors = pytest.importorskip("safetensors")
    assert difference(printed("export", "teachers/digits/resnet8_icc.pth", "--out", "s.safetensors")) == 0
    with safetensors.safe_open(here / "s.safetensors", "pt") as file:
        assert {key: file.get_tensor(key).shape for key in file.keys()} == {  # noqa: SIM118
            key: value.shape for key, value in network.state_dict().items()
        }
        assert file.metadata()["architecture"] == "resnet8" and json.loads(file.metadata()["classes"])[9] == "9"


def test_torch_export_takes_any_number_of_images(here, printed, network):
    told = printed("export", "run/best", "--out", "s.pt2")
    assert difference(told) <= 1e-5
    files = {"about.json": ""}
    program = torch.export.load(here / "s.pt2", extra_files=files).module()
    for number in (1, 5):
        torch.testing.assert_close(program(IMAGES[:number]), network(IMAGES[:number])[0])
    assert json.loads(files["about.json"])["mean"] == [0.3054, 0.3054, 0.3054] and "[0.3054" in told


@pytest.mark.skipif(not ONNX, reason="pip install 'mdistiller_icc[onnx]'")
def test_onnx_takes_any_number_of_images(here, printed, network):
    import onnxruntime

    assert difference(printed("export", "run/best", "--out", "made/s.onnx")) <= 1e-4
    session = onnxruntime.InferenceSession(here / "made/s.onnx")
    (logits,) = session.run(None, {"image": IMAGES.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), network(IMAGES)[0], atol=1e-4, rtol=1e-4)
    assert session.get_modelmeta().custom_metadata_map["architecture"] == "resnet8"
    assert [file.name for file in (here / "made").iterdir()] == ["s.onnx"]


def test_where_the_data_set_is_not_there_digits_are_compared_on(here, printed):
    model = tiny_imagenet_model_dict["ShuffleV2"][0](num_classes=200)
    torch.save({"model": model.state_dict()}, here / "tiny")
    named = ["DATASET.TYPE", "tiny_imagenet", "DISTILLER.STUDENT", "ShuffleV2"]
    told = printed("export", "tiny", "--out", "t.pth", *named)
    assert difference(told) == 0 and "tiny_imagenet is not there, so digits are compared on: " in told
    assert "takes images N×3×64×64" in told


def test_what_differs_from_the_network_is_not_written(here, monkeypatch):
    def wrong(file, build):
        right = formats.STATE_DICT.read(file, build)
        return lambda images: right(images) + (images.sum() != 0)

    monkeypatch.setitem(formats.FORMATS, ".pth", formats.STATE_DICT._replace(read=wrong))
    with pytest.raises(UserError, match="--out s.pth: not written: its logits differ by 1 from the network's"):
        main(["export", "run/best", "--out", "s.pth"])
    assert not list(here.glob("*s.*pth"))


@pytest.mark.parametrize(
    "words, told",
    [
        (["--out", "s.tar"], "--out s.tar: ends in none of .pth, .pt, .safetensors, .pt2, .onnx"),
        (["--out", "taken.pth"], "--out taken.pth: is there already; --overwrite replaces it"),
        (["--out", "s.pth", "--images", "0"], "--images 0: is not at least 1"),
    ],
)
def test_mistakes(here, words, told):
    (here / "taken.pth").write_text("mine")
    with pytest.raises(UserError, match=re.escape(told)):
        main(["export", "run/best", *words])
    assert (here / "taken.pth").read_text() == "mine"


@pytest.mark.parametrize(
    "wrong",
    [
        {"student": {"architecture": 7}}, {"student": 7}, {"num_classes": "ten"}, {"num_classes": 10.0},
        {"num_classes": -3}, {"num_classes": True}, {"dataset": ["digits"]}, {"protocol": {"image_size": "32"}},
    ],
)  # fmt: skip
def test_a_record_of_wrong_values_says_nothing(here, printed, wrong):
    record = {"student": {"architecture": "resnet8"}, "dataset": "digits", "num_classes": 10}
    (here / "run/record.json").write_text(json.dumps(record | wrong))
    assert about(here / "run/best") == About()
    with pytest.raises(UserError, match="name it with DISTILLER.STUDENT"):
        main(["export", "run/best", "--out", "s.pth", "DATASET.TYPE", "digits"])
    printed("export", "run/best", "--out", "s.pth", "DATASET.TYPE", "digits", "DISTILLER.STUDENT", "resnet8")


@pytest.mark.parametrize("ending", ["pth", "safetensors", "pt2", *["onnx"] * ONNX])
def test_a_full_disk_is_told_with_the_name_of_the_file(here, full_disk, capsys, ending):
    if ending == "safetensors":
        pytest.importorskip("safetensors")
    before = sorted(here.iterdir())
    with full_disk():
        assert exit_status(lambda: main(["export", "run/best", "--out", f"s.{ending}"])) == 2
    assert capsys.readouterr().err.endswith(f"error: s.{ending}: File too large\n")
    assert sorted(here.iterdir()) == before


def test_what_a_format_needs_is_told(here, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "onnx" else find(name, *rest))
    with pytest.raises(UserError, match=r"writing .onnx needs onnx: pip install 'mdistiller_icc\[onnx\]'"):
        main(["export", "run/best", "--out", "s.onnx"])
