from __future__ import annotations

import json
import os

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdistiller_icc.errors import UserError
from mdistiller_icc.tables.records import Unusable, read
from mdistiller_icc.tables.search import find


def reasons(output) -> dict[str, str]:
    return {os.path.basename(run.folder): run.reason for run in find([output.root]).left_out}


def test_a_finished_run_is_read(output):
    folder = output.run(method="DKD", top1=71.5, seed=2, kind="icc", settings={"ALPHA": 1.0})
    run = read(str(folder))
    assert (run.method, run.seed, run.teacher.kind, run.student) == ("DKD", 2, "icc", "resnet20")
    assert run.accuracy["top1"] == {"last": 71.5, "mean_last_10": 71.4, "best_test": 71.8, "heldout_selected": None}
    assert run.settings == (("ALPHA", 1.0),)
    assert dict(run.protocol)["lr_decay_stages"] == (150, 180, 210)


def test_the_trainer_belongs_to_the_method_and_dot_makes_another_one(output):
    base, icc, dot = (output.run(protocol={"trainer": name}) for name in ("base", "icc", "dot"))
    assert read(str(base)).protocol == read(str(icc)).protocol == read(str(dot)).protocol
    assert read(str(base)).settings != read(str(icc)).settings
    assert [read(str(run)).method for run in (base, icc, dot)] == ["KD", "KD", "KD+DOT"]


def test_pckd_without_distillation_is_the_published_method_of_its_own(output):
    full, without = (output.run(method="PCKD", settings={"LOSS": {"KD_WEIGHT": weight}}) for weight in (1.0, 0.0))
    assert [read(str(run)).method for run in (full, without)] == ["PCKD", "PCKD_WITHOUT_KD"]


def test_standardised_logits_and_forms_of_a_method_are_named(output):
    held = output.run(method="DKD", settings={"ALPHA": 1.0, "LOGIT_STAND": True}, protocol={"trainer": "dot"})
    plain = output.run(method="DKD", settings={"ALPHA": 1.0}, protocol={"trainer": "dot"})
    assert read(str(held)).method == "DKD+LS+DOT" and read(str(held)).settings == read(str(plain)).settings
    named = {"SDD": ({"BASE": "NKD"}, "SDD-NKD"), "KDPP": ({}, "KD++"), "WKD": ({}, "WKD-L"), "TTM": ({}, "TTM")}
    for method, (node, name) in named.items():
        assert read(str(output.run(method=method, settings=node))).method == name


def test_steps_count_under_a_step_schedule_only(output):
    one = output.run(protocol={"schedule": "cosine"})
    other = output.run(protocol={"schedule": "cosine", "lr_decay_stages": None, "lr_decay_rate": None})
    step = output.run(protocol={"lr_decay_stages": [1, 2]})
    assert read(str(one)).protocol == read(str(other)).protocol
    assert dict(read(str(step)).protocol)["lr_decay_stages"] == (1, 2)


REFUSED = {
    "killed": (dict(status="running", epoch=37), "interrupted at epoch 37 of 240"),
    "diverged": (
        dict(status="diverged", epoch=3, error="loss_ce is nan"),
        "diverged at epoch 3 of 240: loss_ce is nan",
    ),
    "long_number": (dict(seed=10**400), "holds a number of 401 digits"),
    "longer_number": (dict(epoch="BIG"), "holds a number of 5000 digits"),
    "interrupted": (dict(status="interrupted", epoch=3), "interrupted at epoch 3 of 240"),
    "failed": (dict(status="failed", epoch=3, error="RuntimeError: no"), "failed at epoch 3 of 240: RuntimeError: no"),
    "odd_status": (dict(status="done"), "'status' is 'done'"),
    "other_schema": (dict(schema=2), "schema 2, this version reads 1"),
    "no_seed": (dict(seed=None), "'seed' is None, not a whole number"),
    "flag_for_seed": (dict(seed=True), "'seed' is True"),
    "no_student": (dict(student={}), "'student.architecture' is missing"),
    "odd_kind": (dict(teacher={"architecture": "resnet56", "kind": "ic"}), "'ic' (did you mean 'icc'?)"),
    "odd_role": (dict(role="judge"), "'role' is 'judge'"),
    "above_100": (dict(top1={"last": 7000}), "'top1.last' is 7000, not a percentage"),
    "not_finite": (dict(top1={"last": float("nan")}), "'top1.last' is nan, not a number"),
    "no_accuracies": (dict(top1=70.0), "'top1' is 70.0, not an object"),
    "untaught": (dict(teacher=None), "method KD without a 'teacher'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_why_a_record_is_left_out(output, name):
    changes, reason = REFUSED[name]
    output.run(name="good")
    folder = output.run(name=name)
    record = json.loads((folder / "record.json").read_text())
    text = json.dumps(record | changes).replace('"BIG"', "9" * 5000)  # more than Python itself reads
    (folder / "record.json").write_text(text)
    found = find([output.root])
    assert [run.folder for run in found.records] == [str(output.root / "study" / "good")]
    assert reason in reasons(output)[name]


@pytest.mark.parametrize("key", ["dataset", "role", "method", "student", "seed", "protocol", "top1"])
def test_a_missing_key_is_named(output, key):
    folder = output.run()
    record = json.loads((folder / "record.json").read_text())
    del record[key]
    (folder / "record.json").write_text(json.dumps(record))
    with pytest.raises(Unusable, match=f"'{key}'"):
        read(str(folder))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b'{"schema": 1, "sta', "half-written"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1, 2]", "not a run record"),
        (b'{"loss": 1}', "not a run record"),
    ],
)
def test_damaged_and_foreign_files(output, content, reason):
    folder = output.run(name="bad")
    (folder / "record.json").write_bytes(content)
    assert reason in reasons(output)["bad"]


def test_a_run_goes_on_as_long_as_a_process_holds_its_lock(output):
    output.run()
    folder = output.run(name="begun", status="running", epoch=37)
    with FileLock(folder.with_name(".begun.lock")):
        assert reasons(output) == {"begun": "still running at epoch 37 of 240"}
        (folder / "record.json").unlink()
        assert reasons(output) == {"begun": "running, in its first moments: no record.json"}
        moved = folder.rename(folder.with_name("moved"))  # to another machine, without the lock
        assert reasons(output) == {"moved": "half-written: no record.json"}
        moved.rename(folder)
    assert reasons(output) == {"begun": "half-written: no record.json"}


def test_hidden_names_of_runs_and_projects_are_found(output):
    output.run(name=".run")
    output.run(name=".run.before")  # waits while it is overwritten
    output.run(name="../.project/run")
    (output.root / ".venv").mkdir()
    found = sorted(os.path.relpath(record.folder, output.root) for record in find([output.root]).records)
    assert found == [".project/run", "study/.run"]


def test_a_run_without_record_is_half_written_and_other_folders_are_not(output):
    output.run()
    for name in ("begun", "notes"):
        (output.root / name).mkdir()
    (output.root / "begun" / "config.yaml").write_text("")
    (output.root / "notes" / "readme.txt").write_text("")
    assert reasons(output) == {"begun": "half-written: no record.json"}


def test_runs_are_found_once_at_any_depth_through_links_and_overlapping_folders(output, tmp_path):
    output.run(name="a")
    deep = output.run(name="a/b/c")
    (output.root / "link").symlink_to(deep)
    (output.root / "study" / "loop").symlink_to(output.root)
    linked = tmp_path / "linked"
    linked.symlink_to(output.root)
    assert len(find([output.root]).records) == 2
    assert len(find([deep, output.root, linked, deep / "record.json"]).records) == 2


def test_a_folder_that_is_missing_or_has_no_run_is_named(output, tmp_path):
    output.run()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="outptu: no such folder.*did you mean 'output'"):
        find([tmp_path / "outptu"])
    with pytest.raises(UserError, match="empty: no run records"):
        find([output.root, tmp_path / "empty"])


def test_pictures_of_studies_are_found(output):
    folder = output.run()
    drawn = [output.root / "geometry" / "tsne.png", output.root / "analysis_pareto" / "front.png"]
    for picture in [folder / "geometry_test.png", folder / "other.png", *drawn]:
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(b"")
    names = sorted(os.path.basename(path) for path in find([output.root]).pictures)
    assert names == ["front.png", "geometry_test.png", "tsne.png"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(data=st.data())
def test_whatever_stands_in_a_record_it_is_read_or_refused(output, data):
    folder = output.root / "study" / "fuzzed"
    if not folder.exists():
        output.run(name="fuzzed")
        (folder / "whole").write_text((folder / "record.json").read_text())
    record = json.loads((folder / "whole").read_text())
    key = data.draw(st.sampled_from(sorted(record)))
    inner = record[key]
    if isinstance(inner, dict) and inner and data.draw(st.booleans()):
        inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(json_values)
    else:
        record[key] = data.draw(json_values)
    (folder / "record.json").write_text(json.dumps(record))
    found = find([output.root])
    assert len(found.records) + len(found.left_out) == 1
    assert all(hash(run.protocol) and hash(run.images) for run in found.records)
