"""Generated settings, in files and on the command line: each ends in one line, or passes; none hangs or is written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import METHODS, register, settings
from mdistiller_icc.run import check, configure
from mdistiller_icc.settings import each

EVERY = dict(
    pair for group, found in settings(register(verbose=False).host).items() for pair in each(found, f"{group}.")
)
OTHERS = ["SOLVER.LR_COSINE", "SOLVER.MIN_LR", "KD", "SOLVER", "NONSENSE", "SOLVER.NONSENSE", "KD.LOSS", ""]
NAMES = [*EVERY, *EVERY, *OTHERS]
NUMBERS = [
    "0", "-0.0", "1", "-1", "2", "3.0", "2.5", "1e-4", "1e308", "-1e308", "1e309", "5e-324", ".inf", "-.inf", ".nan",
    "nan", "inf", "0x10", "0o17", "0b11", "0240", "1_000", "+5", "1:30", "1:30.5", str(2**31), str(2**63),
    str(-(2**64)), str(10**40), str(10**400), "1" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000,
    "0." + "3" * 5000, "1e" + "9" * 5000, "1j", "1/3", "١٢",
]  # fmt: skip
WORDS = [
    "''", "x", "x" * 5000, "None", "null", "~", "True", "false", "off", "maybe", "..", "../..", "/etc", "/",
    ".hidden", "a:b*?", 'a"b', "C:\\x", "~/x", "~nobody-here/x", "~root", "ünï", "名前", "\u202e", "a b", "-", "--",
    "%s", "{}", "$HOME", "2024-13-45", "2024-11-21", "resnet110", "ResNet50", "digits", "cifar101", "KD", "bf16",
    "a\tb", "\ud800", "\U0001f600", "a" * 256, "#", "&a",
]  # fmt: skip
LISTS = [
    "[]", "()", "[1]", "(32, 32)", "[32, 32.0]", "['a', 'b']", "[[1]]", "[-1]", "[1e308, 2]", "(1,)", "[1, 2, 3]",
    "{}", "{[]: 1}", "{a: 1}", "[" + "1, " * 1500 + "1]", "[" * 3000, "[" * 10_000 + "]" * 10_000, "(" * 3000,
    "-" * 3000 + "1", "[None]", "{1: 2}", "[True]", "{1, 2}", "b'x'", "[0x" + "f" * 5000 + "]",
    "[9999999999999999999999]",
]  # fmt: skip
TAGGED = [
    "!!int abc", "!!int [1]", "!!bool maybe", "!!float x", "!!timestamp x", "!!binary '?'", "!!set {a, b}",
    "!!omap [a: 1]", "!!str 5", "!!null x", "!!python/none x", "!!python/object/apply:os.getcwd []", "!foo x",
    "*nothing", "&a [*a]", "&b x", "? x", "|\n  x", "<<: {a: 1}", "'\\0'", '"\\0"', '"\\ud800"', '"\\x1b[2J"', "@",
    "`", "%", "{", "}", "]", "'", '"', "\x00", "\x07", "- x",
]  # fmt: skip
GROWING = "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}x]\n" for i in range(1, 30)).replace("*a0, ", "x, ")
TWICE = "SOLVER: {LR: 1}\nSOLVER: {LR: 1}"
WHOLE = ["", "-", "[]", "x", "a: b: c", "---\na: 1\n---\nb: 2", GROWING, "\ufeffSOLVER: {LR: 1}", TWICE, "1: 2"]


def value(chance: random.Random, name: str, anywhere: bool) -> str:
    if name in EVERY and chance.random() < 0.2:
        return repr(EVERY[name].default)
    pool = chance.choice([NUMBERS, NUMBERS, WORDS, LISTS, *([TAGGED] if anywhere else [])])
    text = chance.choice(pool)
    if anywhere and chance.random() < 0.2:
        text = repr(text)
    return text


def file_of(chance: random.Random) -> str:
    if chance.random() < 0.05:
        return chance.choice(WHOLE)
    lines = []
    for _ in range(chance.choice([1, 1, 2])):
        name = chance.choice(NAMES)
        parts = name.split(".")
        lines += [f"{'  ' * depth}{part}:" for depth, part in enumerate(parts)]
        lines[-1] += f" {value(chance, name, True)}"
    return "\n".join(lines)


def one(chance: random.Random, folder: Path) -> str:
    """Try one input and return what became of it; every mistake but a `UserError` goes through."""
    method = chance.choice([*METHODS, "NONE"])
    options = ["DATASET.TYPE", "digits", "DISTILLER.STUDENT", "resnet8", "DISTILLER.TEACHER", "resnet14_vanilla"]
    options += ["DISTILLER.TYPE", method]
    path = None
    if chance.random() < 0.6:
        path = folder / "generated.yaml"
        path.write_text(file_of(chance), encoding="utf-8", errors="surrogatepass")
    else:
        for _ in range(chance.choice([1, 1, 2])):
            name = chance.choice(NAMES)
            options += [name, value(chance, name, False)]
    try:
        check(configure(path, options), chance.choice(["teacher", "student"]), options, "cpu")
    except UserError as error:
        told = str(error)
        assert "\n" not in told and told.isprintable() and 10 < len(told) < 700, (options, told)
        return "refused"
    return "taken"


def tried(count: int, seed: int, folder: Path) -> dict[str, int]:
    chance = random.Random(seed)
    ends = {"refused": 0, "taken": 0}
    for i in range(count):
        before = chance.getstate()
        try:
            ends[one(chance, folder)] += 1
        except Exception as error:
            chance.setstate(before)
            file = folder / "generated.yaml"
            raise AssertionError(f"input {i} of seed {seed}: {error!r}; {file.read_bytes()[:300]!r}") from error
    return ends


def test_generated_settings_end_in_one_line_or_pass(monkeypatch, tmp_path):
    ends = _tried(400, 0, monkeypatch, tmp_path)
    assert ends["refused"] > 400 / 2 and ends["taken"] > 400 / 20


@pytest.mark.slow
def test_thousands_of_generated_settings_end_in_one_line_or_pass(monkeypatch, tmp_path):
    ends = _tried(6000, 1, monkeypatch, tmp_path)
    assert ends["refused"] > 6000 / 2 and ends["taken"] > 6000 / 20


@pytest.mark.slow
def test_real_processes_end_in_one_line_as_well(command, tmp_path):
    (tmp_path / "growing.yaml").write_text(GROWING)
    (tmp_path / "deep.yaml").write_text("SOLVER: {LR: " + "[" * 10_000 + "]" * 10_000 + "}")
    (tmp_path / "digits.yaml").write_text("SOLVER: {EPOCHS: " + "1" * 5000 + "}")
    for arguments in (
        ["--cfg", "growing.yaml"], ["--cfg", "deep.yaml"], ["--cfg", "digits.yaml"], ["--device", "hpu"],
        ["--seed", "1" * 5000], ["SOLVER.LR", "{[]: 1}"], ["SOLVER.LR", "-" * 3000 + "1"], ["X" * 5000, "1"],
        ["EXPERIMENT.NAME", "\udcff"], ["EXPERIMENT.PROJECT", "../.."], ["CRD.NCE.MOMENTUM", "1e308"],
        ["SOLVER.BATCH_SIZE", str(2**64)],
    ):  # fmt: skip
        done = command("tools/train.py", *arguments)
        assert done.returncode == 2 and done.stderr.startswith("error: "), done
        assert done.stderr.count("\n") == 1 and len(done.stderr) < 500, done
    assert {path.name for path in tmp_path.iterdir()} == {"growing.yaml", "deep.yaml", "digits.yaml"}


def _tried(count, seed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDISTILLER_ICC_TEACHERS", str(tmp_path / "teachers"))
    ends = tried(count, seed, tmp_path)
    print(ends)
    assert {path.name for path in tmp_path.iterdir()} == {"generated.yaml"}
    return ends
