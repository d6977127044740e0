"""The quickstart, from its runs to its picture, as small as it can be."""

from __future__ import annotations


def test_quickstart_prints_the_table_the_distances_and_where_the_picture_is(command, tmp_path):
    small = ["DATASET.FRACTION", "0.1", "SOLVER.BATCH_SIZE", "8", "SOLVER.EPOCHS", "3", "SOLVER.EVAL_EVERY", "3"]
    done = command("tools/quickstart.py", "--seeds", "0", *small)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 runs finished" in done.stderr
    for method in ("KD", "DKD"):
        assert [line.split("|")[2].strip() for line in done.stdout.splitlines() if line.startswith(f"| {method} ")] == [
            "plain", "ICC", "ICC − plain",
        ]  # fmt: skip
    for teacher in ("resnet20_vanilla", "resnet20_icc"):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"| {teacher} ")]
        assert all(float(cell) > 0 for cell in line.split("|")[2:-1])
    *_, picture, _empty, last = done.stdout.splitlines()
    assert last.startswith("Verdict: none yet, for one seed is no comparison (the teacher (")
    picture = tmp_path / picture.partition(": ")[2]
    assert picture.read_bytes().startswith(b"\x89PNG") and "t-SNE" in done.stdout
