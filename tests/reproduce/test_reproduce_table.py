"""Tables: those that come with the package say what they mean, and mistakes in one are told in one line."""

from __future__ import annotations

import pytest
import yaml

from mdistiller_icc.errors import UserError
from mdistiller_icc.reproduce import table as tables
from mdistiller_icc.reproduce.plan import plan

GOOD = {
    "dataset": "digits",
    "epochs": {"full": 4, "short": 2},
    "teachers": {"vanilla": None, "icc": {"ICC": {"WEIGHT": 0.1}, "vary": {"ICC.MARGIN": [0.1, 0.3]}}},
    "methods": {"KD": None, "DKD": {"DKD": {"BETA": 2.0}}},
    "pairs": [{"teacher": "resnet14", "student": "resnet8"}],
}


def written(tmp_path, content, name="mine.yaml"):
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(file)


def test_a_table_of_ones_own(tmp_path):
    table = tables.load(written(tmp_path, GOOD))
    assert (table.project, table.seeds, table.alone) == ("mine", [0], False)
    assert table.teachers["icc"].vary == {"ICC.MARGIN": [0.1, 0.3]}
    assert table.teachers["icc"].settings == {"ICC": {"WEIGHT": 0.1}}


WRONG = {
    "no mapping": ([1], "holds a list"),
    "unknown key": (GOOD | {"pair": []}, r"unknown key 'pair' \(did you mean 'pairs'\?\)"),
    "missing key": ({k: v for k, v in GOOD.items() if k != "pairs"}, "'pairs' is missing"),
    "no pairs": (GOOD | {"pairs": []}, "pairs is empty"),
    "no teachers": (GOOD | {"teachers": {}}, "teachers is empty"),
    "unknown kind": (GOOD | {"teachers": {"vanila": None}}, r"'vanila' \(did you mean 'vanilla'\?\)"),
    "pair without student": (GOOD | {"pairs": [{"teacher": "resnet14"}]}, r"pairs\[0\]: 'student' is missing"),
    "pair that is no mapping": (GOOD | {"pairs": ["a"]}, r"pairs\[0\] wants keys with values, got 'a'"),
    "method of a pair": (
        GOOD | {"pairs": [{"teacher": "a", "student": "b", "methods": {"DKF": None}}]},
        r"pairs\[0\]: methods: unknown key 'DKF' \(did you mean 'DKD'\?\)",
    ),
    "seeds": (GOOD | {"seeds": [0, "x"]}, "seeds are whole numbers"),
    "no seeds": (GOOD | {"seeds": []}, "seeds are whole numbers"),
    "epochs": (GOOD | {"epochs": {"full": 0, "short": 1}}, "epochs: full is a whole number of at least 1, got 0"),
    "protocol": (GOOD | {"epochs": {"full": 2}}, "epochs: 'short' is missing"),
    "vary without values": (GOOD | {"teachers": {"icc": {"vary": {"ICC.MARGIN": []}}}}, "vary: ICC.MARGIN is empty"),
    "vary without a list": (GOOD | {"teachers": {"icc": {"vary": {"ICC.MARGIN": 1}}}}, "a list of values"),
    "pretrained is trained": (GOOD | {"teachers": {"pretrained": {"SOLVER": {"LR": 1}}}}, "is not trained"),
    "like nothing": (GOOD | {"like": "digit"}, r"like: no table 'digit' \(did you mean 'digits'\?\)"),
    "like no file": (GOOD | {"like": "other.yaml"}, "other.yaml: No such file"),
    "like itself": (GOOD | {"like": "mine.yaml"}, "round in a circle"),
}


@pytest.mark.parametrize("content, told", WRONG.values(), ids=WRONG)
def test_a_mistake_is_told_in_one_line_with_its_file(tmp_path, content, told):
    file = written(tmp_path, content)
    with pytest.raises(UserError, match=told) as error:
        tables.load(file)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


WRONG_SETTINGS = {
    "unknown key": (GOOD | {"settings": {"SOLVER": {"LRR": 1}}}, r"mine.yaml: unknown key SOLVER.LRR \(did you mean"),
    "wrong type": (GOOD | {"methods": {"KD": {"KD": {"TEMPERATURE": "hot"}}}}, "mine.yaml: KD.TEMPERATURE wants a num"),
    "unknown key to vary": (GOOD | {"teachers": {"icc": {"vary": {"ICC.MARGN": [1]}}}}, "unknown key ICC.MARGN"),
}


@pytest.mark.parametrize("content, told", WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_a_wrong_setting_is_told_before_anything_runs(tmp_path, content, told):
    with pytest.raises(UserError, match=told):
        plan(tables.load(written(tmp_path, content)))


def test_unknown_table():
    with pytest.raises(UserError, match=r"no table 'cifar100_homogenous' \(did you mean 'cifar100_homogeneous'\?\)"):
        tables.load("cifar100_homogenous")


def test_like_takes_what_is_not_said(tmp_path):
    written(tmp_path, GOOD, "first.yaml")
    second = tables.load(written(tmp_path, {"like": "first.yaml", "methods": {"KD": None}}, "second.yaml"))
    assert list(second.methods) == ["KD"] and second.dataset == "digits" and second.project == "second"
    third = tables.load(written(tmp_path, {"like": "second.yaml", "seeds": [4]}, "third.yaml"))
    assert list(third.methods) == ["KD"] and third.seeds == [4]


def test_the_shipped_tables():
    wanted = {
        "cifar100_homogeneous", "cifar100_heterogeneous", "cifar100_compatible", "tiny_imagenet", "imagenet", "digits",
        "ablation_margin", "ablation_weight", "ablation_queue", "capacity_gap", "transfer", "quickstart",
    }  # fmt: skip
    assert wanted <= set(tables.shipped())
    for name in tables.shipped():
        assert tables.load(name).about, name
