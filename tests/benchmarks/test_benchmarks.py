"""Every measurement runs and says what it should; how fast anything is, no test asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ratio import alternate, ratio

ROOT = Path(__file__).parents[2]
DIGITS = ["DATASET.TYPE", "digits"]


@pytest.fixture
def benchmarks(tmp_path):
    """Run ``python -m benchmarks`` in an empty folder."""

    def run(*arguments: str, python: tuple[str, ...] = ("-m", "benchmarks"), **environment: str):
        environment = {"PYTHONPATH": str(ROOT), **environment}
        line = [sys.executable, *python, *arguments]
        return subprocess.run(line, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True)

    return run


def figures(done: subprocess.CompletedProcess[str], file: Path) -> dict:
    assert done.returncode == 0, done.stderr
    told = json.loads(file.read_text())
    assert told["machine"]["threads"] == 1 and told["machine"]["device"] and f"what: {told['what']}" in done.stdout
    return told["result"]


def holds(told: dict, pairs: int) -> bool:
    return 0 < told["low"] <= told["median"] <= told["high"] and told["pairs"] == pairs


def test_a_ratio_is_of_pairs():
    assert ratio([2.0, 4.0, 9.0, 20.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]) == {
        "median": 2.0, "low": 2.0, "high": 3.0, "pairs": 5
    }  # fmt: skip
    assert ratio([3.0], [2.0]) == {"median": 1.5, "low": 1.5, "high": 1.5, "pairs": 1}


def test_calls_are_made_in_turn_and_warm_up_does_not_count():
    order = []
    seconds = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=4, warm_up=2)
    assert order == ["a", "b"] * 6 and [len(taken) for taken in seconds.values()] == [4, 4]
    assert all(len(taken) == 3 for taken in alternate({"a": list}, rounds=99, limit=0.0).values())


def test_help_needs_no_torch(benchmarks):
    code = "import sys, benchmarks.__main__ as m; print('torch' in sys.modules); m.parser().print_help()"
    told = benchmarks(python=("-c", code)).stdout
    assert told.startswith("False\n") and "overhead" in told and "KEY VALUE" in told


def test_negatives(benchmarks, tmp_path):
    told = figures(benchmarks("crd", "--rounds", "1", "--json", "told.json"), tmp_path / "told.json")
    assert told["K"] == 16384 and told["negatives_per_second"].keys() == {"theirs", "ours"} and holds(told["ratio"], 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["engine", "--pair", "dkdd"], "did you mean 'dkd'"),
        (["engine"], "MDISTILLER_ROOT"),
        (["overhead", "--student", "resnet200", *DIGITS], "did you mean 'resnet20'"),
        (["overhead", "--student", "resnet8", "--checkpoint", "nowhere.pth", *DIGITS], "nowhere.pth"),
    ],
)
def test_a_mistake_is_told_in_one_line(benchmarks, arguments, told):
    done = benchmarks(*arguments, MDISTILLER_ROOT="nowhere")
    assert done.returncode == 2 and told in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_loader(benchmarks, tmp_path):
    told = figures(benchmarks("loader", "--rounds", "1", "--json", "told.json", *DIGITS), tmp_path / "told.json")
    assert told["images_per_second"].keys() == {"theirs", "ours"} and holds(told["ratio"], 1)


@pytest.mark.slow
def test_overhead_counts_the_images_of_second_views(benchmarks, tmp_path):
    line = ["overhead", "--student", "resnet8", "--rounds", "10", "--threads", "1", "--json", "told.json", *DIGITS]
    told = figures(benchmarks(*line), tmp_path / "told.json")
    for recipe, least, most in (("memory", 0, 0), ("view", 0.08, 0.14)):  # a ninth, give or take how full queues are
        parts = told[recipe]
        assert holds(parts["ratio"], 10) and holds(parts["ratio of extra images alone"], 10)
        assert least <= parts["extra images"] <= most and parts["passed"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["dkd", "crd", "teacher"])
def test_a_pair_against_the_real_mdistiller(benchmarks, tmp_path, pair):
    if "MDISTILLER_ROOT" not in os.environ:
        pytest.skip("no real mdistiller: set MDISTILLER_ROOT to a checkout to run this live")
    line = ["engine", "--pair", pair, "--rounds", "1", "--seconds", "0.1", "--threads", "1", "--json", "told.json"]
    told = figures(benchmarks(*line, *DIGITS), tmp_path / "told.json")
    assert told["images_per_second"].keys() == {"theirs", "ours"} and holds(told["ratio"], 1)


@pytest.mark.slow
def test_without_mdistiller_our_side_is_measured_alone(benchmarks, tmp_path):
    line = ["engine", "--rounds", "1", "--seconds", "0.1", "--threads", "1", "--json", "told.json", *DIGITS]
    told = figures(benchmarks(*line, MDISTILLER_ROOT=""), tmp_path / "told.json")
    assert told["images_per_second"]["ours"] > 0 and "ratio" not in told
