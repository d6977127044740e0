"""``mdistiller-icc eval`` on checkpoints of everybody's, against plain loops."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from mdistiller_icc import data
from mdistiller_icc.commands import evaluate
from mdistiller_icc.commands.entry import main
from mdistiller_icc.errors import UserError, exit_status
from mdistiller_icc.run import configure


@pytest.fixture(scope="module")
def judged(network):
    """``(true, ranked)``: the label of every test image and the classes in the order of their logits."""
    loaded = data.load(configure(None, ["DATASET.TYPE", "digits"]), 0, torch.device("cpu"))
    with torch.no_grad():
        return [
            (int(label), sorted(range(10), key=lambda k: -float(logits[k])))
            for image, target in loaded.test
            for logits, label in zip(network(image)[0], target, strict=True)
        ]


MDISTILLER = ["-m", "resnet8", "-d", "digits"]


@pytest.mark.parametrize(
    "words",
    [
        ["teachers/digits/resnet8_icc.pth"],
        ["run/best"],
        ["mdistillers", "DATASET.TYPE", "digits", "DISTILLER.STUDENT", "resnet8"],
        [*MDISTILLER, "-c", "mdistillers", "-bs", "7"],
        ["-c", "ckpt_epoch_240.pth", *MDISTILLER],
        ["-m", "resnet8_icc", "-d", "digits", "-c", "pretrain"],
        ["-m", "resnet8_icc", "-d", "digits"],
        ["teachers/digits/resnet8_icc.pth", "--cfg", "icc/res110", "DATASET.TYPE", "digits"],
    ],
    ids=lambda words: " ".join(words),
)
def test_whoevers_file_it_is(here, printed, judged, words):
    found = json.loads(printed("eval", *words, "--json"))
    assert (found["architecture"], found["dataset"], found["images"]) == ("resnet8", "digits", len(judged))
    assert found["top1"] == pytest.approx(100 * sum(true == ranked[0] for true, ranked in judged) / len(judged))
    assert found["top5"] == pytest.approx(100 * sum(true in ranked[:5] for true, ranked in judged) / len(judged))


def test_every_class_and_every_confusion(here, printed, judged):
    printed("eval", "run/best", "--out", "written")
    told = printed("eval", "run/best", "--out", "written")  # again
    rows = list(csv.reader((here / "written/confusions.csv").open()))
    assert rows[0] == ["true class", *map(str, range(10))]
    for true in range(10):
        counts = [sum(t == true and ranked[0] == taken for t, ranked in judged) for taken in range(10)]
        assert rows[1 + true] == [str(true), *map(str, counts)]
    per_class = list(csv.DictReader((here / "written/per_class.csv").open()))
    for true, row in enumerate(per_class):
        own = [ranked[0] == true for t, ranked in judged if t == true]
        assert (int(row["images"]), int(row["correct"])) == (len(own), sum(own))
        assert float(row["top1"]) == pytest.approx(100 * sum(own) / len(own), abs=0.005)
    result = json.loads((here / "written/eval.json").read_text())
    assert (
        f"test top-1 {result['top1']:.2f} %, top-5 {result['top5']:.2f} %" in told and "written/confusions.csv" in told
    )


def test_a_full_disk_leaves_the_earlier_figures(here, printed, full_disk, capsys):
    printed("eval", "run/best", "--out", "written")
    before = {file.name: file.read_bytes() for file in (here / "written").iterdir()}
    with full_disk():
        assert exit_status(lambda: main(["eval", "run/best", "--out", "written"])) == 2
    assert capsys.readouterr().err.endswith("error: written/eval.json: File too large\n")
    assert {file.name: file.read_bytes() for file in (here / "written").iterdir()} == before


@pytest.mark.parametrize("name", ["eval.json", "per_class.csv", "confusions.csv"])
def test_what_is_not_its_own_is_not_replaced(here, name):
    (here / "written").mkdir()
    (here / "written" / name).write_text("mine")
    with pytest.raises(UserError, match=f"^--out written/{name}: is there, and not what this command writes"):
        main(["eval", "run/best", "--out", "written"])
    assert (here / "written" / name).read_text() == "mine" and len([*(here / "written").iterdir()]) == 1


def test_a_spreadsheet_takes_no_class_for_a_formula(tmp_path):
    evaluate._write(tmp_path, {}, ["=1+1", "b"], [[1, 0], [0, 2]])
    assert (tmp_path / "per_class.csv").read_text() == "class,images,correct,top1\n'=1+1,1,1,100.00\nb,2,2,100.00\n"
    assert (tmp_path / "confusions.csv").read_text() == "true class,'=1+1,b\n'=1+1,1,0\nb,0,2\n"


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "no checkpoint: name a file, or a network with -m MODEL"),
        (["nowhere"], "nowhere: No such file"),
        (["run/best", "-m", "resnet14"], "not a checkpoint of resnet14"),
        (["run/best", "-m", "resnet9"], r"no network 'resnet9' for digits \(did you mean 'resnet8'"),
        (["mdistillers", "DATASET.TYPE", "digits"], "does not say its architecture: name it with DISTILLER.STUDENT"),
        (["-m", "resnet20_icc", "-d", "digits"], "no such teacher; train it: .*teacher --cfg icc/res110"),
        (["run/best", "-d", "digit"], r"unknown 'digit' \(did you mean 'digits'"),
        (["run/best", "KD.TEMPERATUR", "1"], "unknown key KD.TEMPERATUR"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes(here, words, told):
    with pytest.raises(UserError, match=told) as raised:
        main(["eval", *words])
    assert "\n" not in str(raised.value)
