"""Two and four processes with a share of each batch train what one process trains with the whole, method by method.

All of it in double precision, the last batch of an epoch shared unevenly: what differs is a mistake.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mdistiller_icc.plugin import register
from tests.ranks.conftest import TEACHER

RELATED = ("SP", "PKT", "CKD", "PCKD", "CRD:SOLVER.TRAINER=crd", "ICC", "ICC:ICC.POSITIVE=memory")
"""Whose losses are of the whole batch."""
OTHERS = (
    "RKD", "BICKD", "CRD", "NONE", "KD", "DKD", "AT", "FITNET", "NST", "OFD", "VID", "KDSVD", "REVIEWKD", "ICCKD",
    "KD:SOLVER.TRAINER=dot", "CRD:SOLVER.TRAINER=crd_dot:CRD.MODE=relax", "ICC:ICC.POSITIVE=twin",
    "ICC:ICC.QUEUE.POLICY=slide", "ICC:ICC.WEIGHT_MODE=gradnorm", "ICC:ICC.REDUCTION=batch",
    "DIST", "MLKD", "CRLD", "KDPP", "CTKD", "SIMKD", "CATKD", "SDD", "TTM", "WTTM", "NKD", "RLD", "DTKD", "GDKD",
    "NORMKD", "WKD", "DKD+CRD", "KD:DATASET.IMAGES=digits", "KD:DATASET.LOADER=workers:DATASET.NUM_WORKERS=0",
    "NONE:SOLVER.ON_NAN=skip:DATASET.HOLDOUT=0.1",
)  # fmt: skip


def test_every_method_is_among_them():
    assert {case.partition(":")[0] for case in RELATED + OTHERS} >= register(verbose=False).host.distiller_dict.keys()


@pytest.fixture(scope="module")
def trained(torchrun, tmp_path_factory):
    """The folder in which so many processes have trained such cases, each set of them once."""
    done: dict[tuple[int, tuple[str, ...]], Path] = {}

    def train(count: int, cases: tuple[str, ...]) -> Path:
        if (count, cases) not in done:
            folder = tmp_path_factory.mktemp(f"of_{count}")
            ran = torchrun(count, folder, "tests/ranks/methods.py", folder, TEACHER, *cases)
            _, told = ran.communicate(timeout=1200)
            assert ran.returncode == 0, told
            done[count, cases] = folder
        return done[count, cases] / "distill"

    return train


def numbers(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value.double()
    elif isinstance(value, dict):
        for key in value:
            yield from numbers(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from numbers(item)


def difference(one: Path, other: Path) -> float:
    """The largest difference of what two checkpoints hold, against the largest number of each tensor."""
    states = [torch.load(folder / "latest", weights_only=False) for folder in (one, other)]
    pairs = [[*numbers([state["model"], state["optimizer"]["state"]])] for state in states]
    assert states[0]["model"].keys() == states[1]["model"].keys() and len(pairs[0]) > 50
    return max(
        ((a - b).abs().max() / b.abs().max().clamp(min=1e-9)).item() if a.numel() else 0.0
        for a, b in zip(*pairs, strict=True)
    )


def metrics(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "images_per_second")
    return [{k: math.nan if v is None else v for k, v in line.items() if k not in timed} for line in lines]


def check(trained, count: int, cases: tuple[str, ...], case: str) -> None:
    one, several = (trained(number, cases) / case.replace(":", ",") for number in (1, count))
    found = difference(several, one)
    print(f"{case}: {count} processes, largest difference {found:.1e}")
    assert found < 1e-8
    for told, expected in zip(metrics(several), metrics(one), strict=True):
        assert told == pytest.approx(
            expected, rel=1e-5, abs=1e-9, nan_ok=True
        )  # losses are added up in single precision
    assert json.loads((several / "record.json").read_text())["processes"] == count


@pytest.mark.parametrize("case", RELATED)
def test_two_processes_relate_the_images_of_the_whole_batch(trained, case):
    check(trained, 2, RELATED, case)


@pytest.mark.slow
def test_without_gather_each_keeps_what_is_its_own_in_the_checkpoint(trained):
    case = ("ICC:DISTILLER.GATHER=False",)
    state = torch.load(trained(2, case) / case[0].replace(":", ",") / "latest", weights_only=False)
    first, second = state["ranks"]
    assert first.keys() == second.keys() and not any(key.startswith("student.") for key in first)
    assert torch.equal(first["loss.queues.index"], state["model"]["loss.queues.index"])
    assert not torch.equal(first["loss.queues.index"], second["loss.queues.index"])


@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERS)
def test_two_processes_train_every_method_as_one_does(trained, case):
    check(trained, 2, OTHERS, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", RELATED + OTHERS)
def test_four_processes_do_too(trained, case):
    check(trained, 4, RELATED if case in RELATED else OTHERS, case)
