"""Class queues across processes: of their own, or shared by all ranks."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def told(ranks):
    return ranks(Path(__file__).with_name("icc_two_processes.py"))


@pytest.mark.parametrize("policy", ["clear", "slide"])
def test_two_ranks_with_half_batches_fill_the_queues_as_one_with_the_whole(told, policy):
    state, met = told["whole"][policy]
    ranks = [rank[f"{policy} True"] for rank in told["ranks"]]
    assert ranks[0] == ranks[1] == [state, met]


@pytest.mark.parametrize("policy", ["clear", "slide"])
def test_otherwise_each_rank_has_its_own(told, policy):
    state, _ = told["whole"][policy]
    ranks = [rank[f"{policy} False"][0] for rank in told["ranks"]]
    assert ranks[0] != ranks[1] and state not in ranks


def test_distributed_data_parallel_leaves_each_rank_its_queues(told):
    first, second = (rank["ddp"]["index"] for rank in told["ranks"])
    assert first != second


def test_ranks_that_took_no_step_have_the_figures_of_those_that_did(told):
    first, second = (rank["watched"] for rank in told["ranks"])
    assert first == second and first["0"]["icc/intra"] is None
    assert first["1"]["icc/weight"] == 0.5 and first["1"]["icc/intra"] > 0
    assert first["1"]["icc/intra"] != first["2"]["icc/intra"]


def test_so_it_does_where_the_loss_is_a_part_of_somebodys_module(told):
    first, second = (rank["inside"] for rank in told["ranks"])
    assert first["index"] != second["index"] and first["waiting"] != second["waiting"]
