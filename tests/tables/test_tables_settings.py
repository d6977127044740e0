from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mdistiller_icc.tables.settings import describe, freeze, spell, varied

leaves = st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.booleans(), st.none())
trees = st.recursive(
    st.dictionaries(st.text("ABC", min_size=1, max_size=2), leaves, max_size=3),
    lambda below: st.dictionaries(st.text("ABC", min_size=1, max_size=2), below | st.lists(leaves), max_size=3),
)
STEP = {"epochs": 30, "schedule": "step", "lr_decay_stages": [19, 23], "lr_decay_rate": 0.1, "fraction": 1.0}


@given(trees)
def test_frozen_settings_are_hashable_and_do_not_depend_on_order(tree):
    turned = dict(reversed(tree.items()))
    assert hash(freeze(tree)) == hash(freeze(turned))
    assert freeze(tree) == freeze(turned)


def test_whole_floats_and_ints_are_the_same_setting():
    assert freeze({"lr": 1, "stages": [150, 180]}) == freeze({"stages": [150.0, 180], "lr": 1.0})


def test_varied_names_what_differs_and_what_is_missing():
    one, other = freeze({"ICC": {"MARGIN": 0.1, "WEIGHT": 1}}), freeze({"ICC": {"MARGIN": 0.3, "WEIGHT": 1}, "T": 4})
    assert varied([one, other, one]) == ["ICC.MARGIN", "T"]
    assert spell(one, varied([one, other])) == "ICC.MARGIN 0.1, T not recorded"
    assert varied([one, one]) == []


def test_protocol_in_words():
    assert describe(freeze(STEP)) == "30 epochs, ×0.1 after 19, 23"
    other = STEP | {"fraction": 0.05, "holdout": 0.1, "warmup_epochs": 5, "precision": "bf16"}
    said = describe(freeze(other))
    assert said.startswith(
        "30 epochs, ×0.1 after 19, 23, bf16, 5 % of the training images, 10 % of the training images"
    )
    assert said.endswith("held out, warmup epochs 5")


def test_a_switch_is_named_where_it_is_on_and_where_another_has_it():
    off, on = freeze(STEP), freeze(STEP | {"compile": True})
    assert describe(on) == f"{describe(off)}, compiled"
    assert [describe(one, varied([off, on])) for one in (off, on)] == ["not compiled", "compiled"]


def test_views_in_words():
    one, weaker, stronger = (
        freeze(STEP | {"views": 1 if name is None else 2} | ({} if name is None else {"strong_view": name}))
        for name in (None, "randaugment-10", "randaugment+cutout")
    )
    assert describe(one) == describe(freeze(STEP))
    assert describe(weaker) == f"{describe(one)}, weak and strong view (randaugment-10)"
    told = [describe(protocol, varied([one, stronger])) for protocol in (one, stronger)]
    assert told == ["one view", "weak and strong view (randaugment+cutout)"]
    told = [describe(protocol, varied([weaker, stronger])) for protocol in (weaker, stronger)]
    assert told == ["strong view randaugment-10", "strong view randaugment+cutout"]


def test_words_for_what_differs_are_never_empty():
    cosine = freeze({"epochs": 30, "schedule": "cosine", "fraction": 0.5})
    keys = varied([freeze(STEP), cosine])
    assert describe(cosine, keys) == "cosine schedule, 50 % of the training images"
    assert describe(freeze(STEP), keys) == "×0.1 after 19, 23, 100 % of the training images"
    assert describe(freeze({"epochs": 3}), ["precision"]) == "precision not recorded"
