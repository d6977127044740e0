"""Tables: those that come with the package say what they mean, and mistakes in one are told in one line."""

from __future__ import annotations

import pytest
import yaml

from mdistiller_icc.errors import UserError
from mdistiller_icc.studies import table_file as tables
from mdistiller_icc.studies.plan import plan

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
    (part,) = table.parts
    assert (part.project, part.seeds, part.alone) == ("mine", [0], False)
    assert part.teachers["icc"].vary == {"ICC.MARGIN": [0.1, 0.3]}
    assert part.teachers["icc"].settings == {"ICC": {"WEIGHT": 0.1}}
    assert table.analysis == {}


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
    "vary over equal values": (
        GOOD | {"teachers": {"icc": {"vary": {"ICC.MARGIN": [0.3, 1, 1.0]}}}},
        "vary: ICC.MARGIN: 1 and 1.0 are the same",
    ),
    "method that is no text": (GOOD | {"methods": {1: None}}, "methods wants names with settings, got 1"),
    "method of a pair that is no text": (
        GOOD | {"pairs": [{"teacher": "a", "student": "b", "methods": {None: None}}]},
        r"pairs\[0\]: methods wants names with settings, got None",
    ),
    "pretrained is trained": (GOOD | {"teachers": {"pretrained": {"SOLVER": {"LR": 1}}}}, "is not trained"),
    "like nothing": (GOOD | {"like": "digit"}, r"like: no table 'digit' \(did you mean 'digits'\?\)"),
    "like no file": (GOOD | {"like": "other.yaml"}, "other.yaml: No such file"),
    "no parts": (GOOD | {"parts": []}, "parts is empty"),
    "parts that are none": (GOOD | {"parts": 1}, "parts wants a list, got 1"),
    "whole table's key in a part": (
        GOOD | {"parts": [{"about": "x"}]},
        r"parts\[0\]: 'about' belongs to the whole table",
    ),
    "mistake in a part": (GOOD | {"parts": [{}, {"pair": []}]}, r"parts\[1\]: unknown key 'pair'"),
    "unknown analysis": (
        GOOD | {"analysis": {"paretto": None}},
        r"analysis: unknown key 'paretto' \(did you mean 'pareto'",
    ),
    "setting of an analysis": (
        GOOD | {"analysis": {"geometry": {"share": 1}}},
        "analysis: geometry: unknown key 'share'",
    ),
    "share": (GOOD | {"analysis": {"pareto": {"share": 0}}}, "analysis: pareto: share is above 0 and at most 1, got 0"),
    "pair settings": (GOOD | {"pair_settings": True}, "pair_settings is published or none, got True"),
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
    (part,) = second.parts
    assert list(part.methods) == ["KD"] and part.dataset == "digits" and part.project == "second"
    third = tables.load(written(tmp_path, {"like": "second.yaml", "seeds": [4]}, "third.yaml"))
    (part,) = third.parts
    assert list(part.methods) == ["KD"] and part.seeds == [4]


def test_parts_say_what_differs_and_the_rest_is_said_beside_them(tmp_path):
    shared = {key: value for key, value in GOOD.items() if key not in ("dataset", "epochs")}
    parts = [
        {"dataset": "digits", "epochs": {"full": 4, "short": 2}},
        {"like": "tiny_imagenet", "seeds": [5], "skip_missing": True},
    ]
    table = tables.load(written(tmp_path, shared | {"parts": parts, "seeds": [7], "analysis": {"geometry": None}}))
    first, second = table.parts
    assert (first.dataset, first.project, first.seeds, first.skip_missing) == ("digits", "mine", [7], False)
    assert (second.dataset, second.project, second.seeds) == ("tiny_imagenet", "tiny_imagenet", [5])
    assert second.epochs["full"] == 200 and second.skip_missing, "its own words, then those of the table it is like"
    assert [pair.name for pair in second.pairs] == ["resnet14:resnet8"], "the file's words come before another table's"
    assert table.analysis == {"geometry": {}}
    other = tables.load(written(tmp_path, {"like": "mine.yaml", "methods": {"KD": None}}, "other.yaml"))
    assert [part.dataset for part in other.parts] == ["digits", "tiny_imagenet"]
    assert all(list(part.methods) == ["KD"] for part in other.parts) and other.analysis == {"geometry": {}}


def test_an_analysis_has_settings_and_the_older_word_for_one_still_holds(tmp_path):
    table = tables.load(written(tmp_path, GOOD | {"analysis": {"pareto": {"share": 0.5}, "sensitivity": None}}))
    assert table.analysis == {"pareto": {"share": 0.5}, "sensitivity": {"share": 0.9}}
    assert tables.load(written(tmp_path, GOOD | {"geometry": True})).analysis == {"geometry": {}}


def test_pairs_and_methods_are_chosen_by_name(tmp_path):
    pairs = [*GOOD["pairs"], {"teacher": "resnet14", "student": None}]
    table = tables.load(written(tmp_path, GOOD | {"pairs": pairs, "alone": True}))
    names = [run.name for run in plan(table.only(["resnet14"], None))]
    assert sorted(names) == ["resnet14_icc,ICC.MARGIN:0.1,seed:0", "resnet14_icc,seed:0", "resnet14_vanilla,seed:0"]
    (part,) = table.only(["resnet14:resnet8"], ["KD"]).parts
    assert (list(part.methods), part.alone, len(part.pairs)) == (["KD"], False, 1)
    alone, teachers = table.only(None, ["NONE"]).parts
    assert (list(alone.methods), alone.alone, list(teachers.methods), teachers.alone) == ([], True, [], False)
    assert table.only(None, None) == table
    for chosen, told in (
        (
            (["resnet14:resnet9"], None),
            r"--pairs: .* no 'resnet14:resnet9' \(did you mean 'resnet14:resnet8'\?\); it has",
        ),
        ((None, ["DKF"]), r"--methods: .* no 'DKF' \(did you mean 'DKD'\?\); it has DKD, KD, NONE"),
    ):
        with pytest.raises(UserError, match=told):
            table.only(*chosen)


def test_a_choice_keeps_the_parts_that_have_it():
    (part,) = tables.load("transfer").only(["ResNet18:MobileNetV2"], ["KD"]).parts
    assert part.dataset == "tiny_imagenet" and list(part.methods) == ["KD"]


def test_the_shipped_tables():
    wanted = {
        "cifar100_homogeneous", "cifar100_heterogeneous", "cifar100_compatible", "tiny_imagenet", "imagenet", "digits",
        "ablation_margin", "ablation_weight", "ablation_queue", "capacity_gap", "transfer", "quickstart", "sanity",
        "pareto", "cross_architecture", "geometry", "cifar100_modern",
    }  # fmt: skip
    assert wanted <= set(tables.shipped())
    for name in tables.shipped():
        assert tables.load(name).about, name


def test_students_alone_take_no_teachers_but_those_that_have_no_student(tmp_path):
    table = tables.load(written(tmp_path, GOOD | {"alone": True}))
    assert [run.name for run in plan(table.only(None, ["NONE"]))] == ["NONE,resnet8,seed:0"]
    kept = {run.name for run in plan(table.only(None, ["NONE", "KD"])) if run.role == "teacher"}
    assert kept == {"resnet14_vanilla,seed:0", "resnet14_icc,ICC.MARGIN:0.1,seed:0", "resnet14_icc,seed:0"}
    pairs = [*GOOD["pairs"], {"teacher": "resnet20", "student": None}]
    table = tables.load(written(tmp_path, GOOD | {"alone": True, "pairs": pairs}))
    assert {run.name for run in plan(table.only(None, ["NONE"]))} == {
        "NONE,resnet8,seed:0", *(name.replace("resnet14", "resnet20") for name in kept)
    }  # fmt: skip
    table = tables.load(written(tmp_path, GOOD | {"methods": {}}))
    assert {run.name for run in plan(table)} == kept, "a table without methods is about its teachers"


def test_pairs_and_methods_of_different_parts_are_refused(tmp_path):
    parts = [{"methods": {"KD": None}}, {"pairs": [{"teacher": "resnet20", "student": "resnet8"}]}]
    table = tables.load(written(tmp_path, GOOD | {"methods": {"DKD": None}, "parts": parts}))
    with pytest.raises(UserError, match="--pairs, --methods: .*mine.yaml has no part with KD for resnet20:resnet8$"):
        table.only(["resnet20:resnet8"], ["KD"])
