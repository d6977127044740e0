"""What is published for a pair of networks: the data, and what a run makes of it."""

from __future__ import annotations

import json

import pytest

from mdistiller_icc.errors import UserError
from mdistiller_icc.pair_settings import method_of, published
from mdistiller_icc.plugin import register
from mdistiller_icc.run import check, chosen_settings, configure
from mdistiller_icc.tables.published import TIERS

TYPES = {"KD++": "KDPP", "WKD-L": "WKD", "SDD-KD": "SDD", "SDD-DKD": "SDD", "PCKD_WITHOUT_KD": "PCKD"}
ASKED = ["EXPERIMENT.PAIR_SETTINGS", "published"]


def options(dataset, method, teacher, student):
    """What chooses a method by the name that it is published under."""
    plain = method.removesuffix("+LS")
    kind = TYPES.get(plain, plain)
    more = {"SDD-KD": ["SDD.BASE", "KD"], "PCKD_WITHOUT_KD": ["PCKD.LOSS.KD_WEIGHT", "0"]}.get(plain, [])
    networks = ["DISTILLER.TEACHER", teacher, "DISTILLER.STUDENT", student]
    named = ["DATASET.TYPE", dataset, "DISTILLER.TYPE", kind]
    return [*named, *networks, "DISTILLER.LOGIT_STAND", str(plain != method), *more]


def of(dataset, method, teacher, student, *more):
    return configure(None, [*options(dataset, method, teacher, student), *more])


@pytest.mark.parametrize("method", sorted({key[1] for key in published()}))
def test_every_entry_names_a_method_networks_and_settings_that_there_are(method):
    for key, entry in published().items():
        if key[1] != method:
            continue
        assert entry.source and entry.tier in TIERS
        cfg = of(*key, *ASKED)
        assert method_of(cfg) == method
        check(cfg)
        found = chosen_settings(cfg)
        assert found is not None and found.found is entry and found.kept == entry.settings and not found.instead


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        (("cifar100", "DKD", "wrn_40_2", "wrn_16_2"), {"DKD.BETA": 6.0, "DKD.ALPHA": 1.0, "DKD.T": 4.0}),
        (("cifar100", "DKD", "resnet56_icc", "resnet20"), {"DKD.BETA": 2.0}),
        (("imagenet", "DKD", "ResNet34_vanilla", "ResNet18"), {"DKD.BETA": 0.5, "DKD.T": 1.0, "DKD.WARMUP": 1}),
        (("cifar100", "KD+LS", "ResNet50", "MobileNetV2"), {"KD.TEMPERATURE": 3.0, "KD.LOSS.KD_WEIGHT": 1.0}),
        (("cifar100", "KD", "ResNet50", "MobileNetV2"), {"KD.TEMPERATURE": 4.0, "KD.LOSS.KD_WEIGHT": 0.9}),
        (("cifar100", "DKD+LS", "vgg13", "MobileNetV2"), {"DKD.T": 3.0, "DKD.ALPHA": 9.0, "DKD.BETA": 18.0}),
        (("cifar100", "MLKD+LS", "vgg13", "vgg8"), {"MLKD.KD_WEIGHT": 6.0, "MLKD.TEMPERATURE": 2.0}),
        (("cifar100", "GDKD", "wrn_40_2", "ShuffleV1"), {"GDKD.FIRST_WEIGHT": 2.0, "GDKD.REST_WEIGHT": 6.0}),
        (("cifar100", "CATKD", "resnet32x4", "ShuffleV1"), {"CATKD.BETA": 600.0, "CATKD.NORMALISE": True}),
        (("cifar100", "SDD-DKD", "vgg13", "MobileNetV2"), {"SDD.SCALES": [1, 2, 4], "SDD.DKD.BETA": 6.0}),
        (("cifar100", "SDD-KD", "vgg13", "vgg8"), {"SDD.SCALES": [1, 2], "SDD.BASE": "KD"}),
        (("imagenet", "WKD-L", "ResNet50", "MobileNetV1"), {"WKD.WEIGHT": 25.0, "WKD.KAPPA": 2.0}),
        (("cifar100", "KD++", "resnet32x4", "ShuffleV2"), {"KDPP.KD_WEIGHT": 4.0, "KDPP.ND_WEIGHT": 0.5}),
        (("cifar100", "CKD", "wrn_40_2", "wrn_40_1"), {"CKD.CL_WEIGHT": 50.0, "SOLVER.BATCH_SIZE": 32}),
        (("cifar100", "REVIEWKD", "resnet32x4", "ShuffleV2"), {"REVIEWKD.REVIEWKD_WEIGHT": 8.0}),
        (("cifar100", "CRLD", "resnet110", "resnet32"), {"CRLD.WITHIN_WEIGHT": 1.0}),
        (("cifar100", "DKD", "resnet20", "resnet8"), {"DKD.BETA": 8.0}),  # published by nobody: the method's default
    ],
)
def test_known_pairs(key, wanted):
    cfg = of(*key, *ASKED)
    for name, value in wanted.items():
        node = cfg
        for part in name.split("."):
            node = node[part]
        assert node == value, name


PAIR = ("cifar100", "DKD", "resnet56_icc", "resnet20")


def test_nothing_is_applied_that_is_not_asked_for():
    cfg = of(*PAIR)
    assert cfg.DKD.BETA == 8.0 and chosen_settings(cfg) is None


def test_overrides_win_and_are_told():
    cfg = of(*PAIR, *ASKED, "DKD.BETA", "3")
    assert (cfg.DKD.BETA, cfg.DKD.ALPHA) == (3.0, 1.0)
    found = chosen_settings(cfg)
    assert found.record() == {
        "source": "mdistiller a08d46f, configs/cifar100/dkd",
        "tier": "A",
        "published": {"DKD.ALPHA": 1.0, "DKD.T": 4.0, "DKD.WARMUP": 20},
        "instead": {"DKD.BETA": 3.0},
    }
    assert "\n" not in str(found) and str(found).endswith("code, config or figure); DKD.BETA 3.0 instead of 2.0")


def test_what_the_command_line_asks_for_lies_above_the_file_and_what_the_file_asks_for_below_it(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("DKD: {BETA: 5.0}\n")
    assert configure(str(file), [*options(*PAIR), *ASKED]).DKD.BETA == 2.0
    assert configure(str(file), options(*PAIR)).DKD.BETA == 5.0
    file.write_text("DKD: {BETA: 5.0}\nEXPERIMENT: {PAIR_SETTINGS: published}\n")
    assert configure(str(file), options(*PAIR)).DKD.BETA == 5.0
    file.write_text("DKD: {T: 5.0}\nEXPERIMENT: {PAIR_SETTINGS: published}\n")
    cfg = configure(str(file), options(*PAIR))
    assert (cfg.DKD.BETA, cfg.DKD.T) == (2.0, 5.0)
    file.write_text(cfg.dump())
    assert configure(str(file)) == cfg, "a run's own configuration makes the same run"


def test_a_teacher_and_a_plain_student_have_no_pair():
    for kind in ("ICC", "NONE"):
        assert chosen_settings(configure(None, ["DISTILLER.TYPE", kind, *ASKED])) is None


def test_another_word_is_refused():
    with pytest.raises(UserError, match="EXPERIMENT.PAIR_SETTINGS"):
        configure(None, ["EXPERIMENT.PAIR_SETTINGS", "publishd"])


def test_a_run_and_its_record_say_that_nothing_is_published(command, tmp_path):
    small = ["SOLVER.EPOCHS", "2", "SOLVER.BATCH_SIZE", "16", "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.2"]
    teacher = command("tools/train_teacher.py", "DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet14", *small)
    assert teacher.returncode == 0, teacher.stderr
    student = ["DISTILLER.TYPE", "DKD", "DISTILLER.TEACHER", "resnet14_vanilla", "DISTILLER.STUDENT", "resnet8"]
    done = command("tools/train.py", "--pair-settings", "published", *student, *small, "DKD.T", "2")
    assert done.returncode == 0, done.stderr
    said = "settings: none published for DKD, resnet14 → resnet8 on digits: the method's defaults, but DKD.T 2.0\n"
    assert said in done.stdout
    (file,) = (file for file in tmp_path.rglob("record.json") if "DKD" in str(file))
    assert json.loads(file.read_text())["pair_settings"] == {
        "source": None, "tier": None, "published": {}, "instead": {"DKD.T": 2.0},
    }  # fmt: skip


def test_every_method_here_is_one_of_the_hosts():
    known = register(verbose=False).host.distiller_dict
    assert {options("cifar100", key[1], "", "")[3] for key in published()} <= known.keys()
