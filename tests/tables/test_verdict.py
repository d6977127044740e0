"""The sentence at the end: what the intervals allow to be said, and no more."""

from __future__ import annotations

import pytest

from mdistiller_icc.tables import verdict

STEADY, WILD = (1.0, 1.1, 0.9), (5.0, -4.0, 1.0)
"""Gains by seed whose interval leaves out 0, and holds it."""


def fill(output, teachers, methods, pair=("resnet56", "resnet20")):
    for seed in range(3):
        if teachers is not None:
            for method, kind, gain in (("NONE", "vanilla", 0), ("ICC", "icc", teachers[seed])):
                output.run(method=method, kind=kind, role="teacher", seed=seed, top1=72 + gain, pair=pair)
        for method, gains in methods.items():
            for kind, gain in (("vanilla", 0), ("icc", gains[seed])):
                output.run(method=method, kind=kind, seed=seed, top1=70 + gain, pair=pair)


def less(gains):
    return tuple(-gain for gain in gains)


@pytest.mark.parametrize("teachers, methods, told", [
    (STEADY, {"KD": STEADY}, "ICC helps the teacher (+1.00 points), KD (+1.00 points), by 95 % intervals over 3 "
     "seeds."),
    (WILD, {"KD": less(WILD)}, "ICC is shown neither to help nor to harm, by 95 % intervals over 3 seeds: the teacher "
     "(+0.67 points), KD (−0.67 points)."),
    (less(STEADY), {"KD": STEADY, "DKD": WILD}, "ICC helps KD (+1.00 points), harms the teacher (−1.00 points) and is "
     "shown to do neither for DKD (+0.67 points), by 95 % intervals over 3 seeds."),
    (None, {"KD": less(STEADY)}, "ICC harms KD (−1.00 points), by 95 % intervals over 3 seeds."),
    (None, dict.fromkeys(("KD", "DKD", "AT", "SP", "RKD"), STEADY), "ICC helps in 5 of 5 comparisons, by 95 % "
     "intervals over 3 seeds."),
])  # fmt: skip
def test_by_the_intervals(output, teachers, methods, told):
    fill(output, teachers, methods)
    assert verdict([output.root]) == f"Verdict: {told}"


def test_several_pairs_are_told_apart(output):
    fill(output, None, {"KD": STEADY})
    fill(output, None, {"KD": WILD}, ("resnet110", "resnet32"))
    assert "helps KD resnet56 → resnet20 (+1.00 points) and is shown to do neither for KD resnet110 → resnet32 (" in (
        verdict([output.root])
    )


def test_one_seed_is_no_comparison_and_one_kind_neither(output):
    output.run(method="KD", kind="icc", top1=71.0)
    assert verdict([output.root]).startswith("Verdict: none, for nothing was trained from both")
    output.run(method="KD", kind="vanilla", top1=70.0)
    assert verdict([output.root]) == (
        "Verdict: none yet, for one seed is no comparison (KD (+1.00 points)); make more with --seeds 0 1 2."
    )


def test_no_comparison_takes_the_place_of_another_of_its_name(output):
    """Of another data set, of a teacher without students, of a teacher made otherwise."""
    fill(output, STEADY, {"KD": less(STEADY)})
    for seed in range(3):
        for kind, gain in (("vanilla", 0), ("icc", WILD[seed])):
            output.run(method="KD", kind=kind, seed=seed, top1=60 + gain, dataset="digits")
        for method, gain in (("NONE", 0), ("ICC", -STEADY[seed])):
            output.run(method=method, role="teacher", seed=seed, top1=70 + gain, pair=("resnet110", ""))
    for seed in range(3):
        output.run(method="ICC", role="teacher", seed=seed, top1=72 + WILD[seed], settings={"MARGIN": 0.5})
    assert verdict([output.root]) == (
        "Verdict: ICC helps the teacher (MARGIN not recorded) resnet56 on cifar100 (+1.00 points), harms the teacher "
        "(MARGIN not recorded) resnet110 on cifar100 (−1.00 points), KD on cifar100 (−1.00 points) and is shown to do "
        "neither for the teacher (MARGIN 0.5) resnet56 on cifar100 (+0.67 points), KD on digits (+0.67 points), by "
        "95 % intervals over 3 seeds."
    )
