"""What ``register()`` promises, on both hosts, each in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "registered.py"
OURS = [
    "ICC", "ICCKD", "CKD", "BICKD", "PCKD", "DIST", "CTKD", "MLKD", "TTM", "WTTM", "NKD", "RLD", "SDD", "CRLD", "DTKD",
    "GDKD", "NORMKD", "SIMKD", "CATKD", "WKD", "KDPP",
]  # fmt: skip


@pytest.fixture(params=["builtin", "mdistiller"])
def facts(request, python, tmp_path):
    """Run the script on a host, and give what was said and the facts that it prints."""
    path = () if request.param == "builtin" else (request.getfixturevalue("real_checkout"),)

    def run(*arguments):
        done = python(SCRIPT, *arguments, cwd=tmp_path, path=path, MDISTILLER_ICC_HOST=request.param)
        assert done.returncode == 0, done.stderr
        return done.stderr.splitlines(), json.loads(done.stdout)

    return run


def test_registries_are_extended_in_place_and_only_once(facts):
    said, told = facts()
    assert told["identity"] and told["kept as they were"] and told["same after the second call"]
    assert told["new"]["distiller_dict"] == OURS and told["nodes"] == OURS
    assert told["new"]["trainer_dict"] == ["icc"]
    assert {"resnet110_icc", "resnet110_vanilla", "wrn_40_2_icc"} <= set(told["new"]["cifar_model_dict"])
    assert told["new"]["imagenet_model_dict"][:2] == ["ResNet18_icc", "ResNet18_vanilla"]
    assert told["factories are X's"]
    cifar = ["teachers/cifar100/resnet8_icc.pth", "teachers/cifar100/wrn_40_2_vanilla.pth"]
    assert told["files"][:2] == cifar
    assert told["files"][2:] in (["teachers/tiny_imagenet/ResNet18_icc.pth"], [])  # old ones have no Tiny-ImageNet
    assert told["numbers"] == [2.5, 4.0, 1.0, 1.0]
    assert told["kept"] == []
    assert sum(line.startswith("registered: 21 distillers; trainers icc;") for line in said) == 1


def test_a_name_the_host_has_is_left_alone_and_named(facts):
    said, told = facts("CKD", "DIST")
    assert told["kept as they were"]
    assert told["kept"] == ["CKD", "DIST"] and not {"CKD", "DIST"} & set(told["said"]["distillers"])
    assert said[-1].endswith("; left alone, the host has its own: CKD, DIST")
