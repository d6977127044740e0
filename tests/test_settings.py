"""Settings: each in its range, one line for what is not, the page that lists them, and what YAML and forks may say."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

from mdistiller_icc import settings_page
from mdistiller_icc.command_line import train
from mdistiller_icc.config import load_config, read_yaml
from mdistiller_icc.distillers import base
from mdistiller_icc.engine.run_folder import RunFolder
from mdistiller_icc.errors import UserError, exit_status, one_line, shown
from mdistiller_icc.plugin import METHODS, register, settings
from mdistiller_icc.run import check, configure
from mdistiller_icc.settings import _MEMORY, Setting, _memory, each, suiting

PAIR = ["DATASET.TYPE", "digits", "DISTILLER.STUDENT", "resnet8", "DISTILLER.TEACHER", "resnet14_vanilla"]
EVERY = dict(
    pair for group, found in settings(register(verbose=False).host).items() for pair in each(found, f"{group}.")
)


def checked(*options):
    return check(configure(None, [*PAIR, *options])).cfg


def from_yaml(tmp_path, text):
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return load_config(register(verbose=False).host.CFG, file)


def test_every_key_of_the_configuration_is_described_and_has_its_default():
    def leaves(node, prefix=""):
        for key, value in node.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    host = register(verbose=False).host
    assert host.name == "builtin"
    assert {name: one.default for name, one in EVERY.items()} == dict(leaves(host.CFG))
    assert all(one.meaning.endswith(".") for one in EVERY.values())


def test_every_number_has_both_ends():
    for name, one in EVERY.items():
        if one.type in (int, float, list, tuple) and not one.choices:
            assert {one.least, one.above} != {None} and {one.most, one.below} != {None}, name


def test_the_page_is_current():
    page = Path(__file__).parents[1] / "docs/settings.md"
    assert page.read_text(encoding="utf-8") == settings_page.page(), (
        "python -m mdistiller_icc.settings_page docs/settings.md"
    )


def beyond(one: Setting):
    """Values just outside the range."""
    if one.choices:
        return ["nonsense" if one.type is str else 2]
    step = 1 if one.type is not float else 1e-9
    ends = [one.least is not None and one.least - step, one.most is not None and one.most + max(step, abs(one.most))]
    ends += [one.above, one.below]
    return [end for end in ends if end is not None and end is not False]


@pytest.mark.parametrize("name", [name for name, one in EVERY.items() if beyond(one)])
def test_what_is_just_out_of_range_is_refused(name):
    one = EVERY[name]
    for value in beyond(one):
        given = [value] * max(one.length[0], 1) if one.type in (list, tuple) else value
        with pytest.raises(UserError, match=f"^{name} (must be|is one of|has numbers of) "):
            checked(name, str(given))


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.settings])
def test_a_method_takes_both_ends_of_every_range_and_one_step_in_each(method):
    host = register(verbose=False).host
    teacher_kind = host.distiller_dict[method].teacher_kind
    for name, one in each(METHODS[method].settings, f"{method}."):
        if name in ("CRD.NCE.K", "FITNET.HINT_LAYER", "KDSVD.K") or one.type in (list, str) and not one.choices:
            continue  # they depend on the machine or the networks
        ends = one.choices or (one.least, one.most) if one.type is not bool else (False, True)
        for value in [end for end in ends if end is not None]:
            given = [value, value] if one.type is tuple else value
            torch.manual_seed(0)
            try:
                cfg = checked("DISTILLER.TYPE", method, name, str(given), "SOLVER.BATCH_SIZE", "8")
                student, teacher = (
                    host.cifar_model_dict[network][0](num_classes=10) for network in ("resnet8", "resnet14")
                )
                distiller = base.build(host.distiller_dict[method], student, teacher, cfg, 64)
            except UserError:
                continue  # two settings that do not fit together, images too small, memory
            if teacher_kind is None:
                step(distiller)


def step(distiller):
    torch.manual_seed(0)
    image, target = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    batch = {"image": image, "strong": image.flip(3), "target": target, "index": torch.arange(8)}
    _logits, losses = distiller.train()(**batch, epoch=1)
    sum(losses.values()).backward()


def test_a_hosts_own_method_of_another_type_is_left_alone():
    theirs = METHODS["KD"].defaults()
    theirs.TEMPERATURE = "adaptive"
    kept = suiting(METHODS["KD"].settings, theirs)
    assert list(kept) == ["LOSS"] and list(kept["LOSS"]) == ["CE_WEIGHT", "KD_WEIGHT"]


@pytest.mark.parametrize(
    "text, name, value",
    [
        ("FITNET: {INPUT_SIZE: '(64, 64)'}", "FITNET.INPUT_SIZE", (64, 64)),
        ("SOLVER:\n  LR_DECAY_STAGES: (150, 180, 210)", "SOLVER.LR_DECAY_STAGES", [150, 180, 210]),
        ("SOLVER: {LR_DECAY_STAGES: ['1', 2.0]}", "SOLVER.LR_DECAY_STAGES", [1, 2]),
        ("SOLVER: {LR: '0.1', EPOCHS: '12'}", "SOLVER.LR", 0.1),
        ("SOLVER: {EPOCHS: 0x10}", "SOLVER.EPOCHS", 16),
        ("LOG: {WANDB: 'False'}", "LOG.WANDB", False),
        ("LOG: {WANDB: off}", "LOG.WANDB", False),
        ("SOLVER: {LR_COSINE: True}", "SOLVER.SCHEDULE", "cosine"),
        ("SOLVER: {LR_COS: False}", "SOLVER.SCHEDULE", "step"),
        ("SOLVER: {LR_COSINE_MIN: 1e-5}", "SOLVER.LR_MIN", 1e-5),
        ("EXPERIMENT: {NAME: 2024-11-21}", "EXPERIMENT.NAME", "2024-11-21"),
        ("EXPERIMENT: {NAME: 0123, TAG: 1:30}", "EXPERIMENT.NAME", "0123"),
        ("EXPERIMENT: {NAME: 1:30}", "EXPERIMENT.NAME", "1:30"),
        ("EXPERIMENT: {SEED: 'None'}", "EXPERIMENT.SEED", None),
        ("A: &a {EPOCHS: 3}", None, "unknown key A"),
        ("SOLVER: &a {EPOCHS: 3}", "SOLVER.EPOCHS", 3),
        ("LOG: {PREFIX: ~/runs}", "LOG.PREFIX", str(Path.home() / "runs")),
        ("SOLVER: {EPOCHS: 1:30}", None, "SOLVER.EPOCHS wants a whole number, got '1:30'"),
        ("SOLVER: {EPOCHS: 0240}", None, "SOLVER.EPOCHS wants a whole number, got '0240'"),
        ("SOLVER: {EPOCHS: !!int abc}", None, "SOLVER.EPOCHS wants a whole number, got 'abc'"),
        ("LOG: {WANDB: !!bool maybe}", None, "LOG.WANDB wants True or False, got 'maybe'"),
        ("SOLVER: {LR: 2024-13-45}", None, "SOLVER.LR wants a number, got '2024-13-45'"),
        ("SOLVER: {LR: !!timestamp soon}", None, "SOLVER.LR wants a number, got 'soon'"),
        ("SOLVER: {LR: !!float x}", None, "SOLVER.LR wants a number, got 'x'"),
        ("SOLVER: {LR: {[]: 1}}", None, "line 1: not readable as YAML: found unhashable key"),
        ("SOLVER: {LR: 1}\nDATASET:\nSOLVER: {LR: 2}", None, "line 3: not readable as YAML: 'SOLVER' stands twice"),
        ("SOLVER: {LR: " + "1" * 5000 + "}", None, "SOLVER.LR wants a number, got '" + "1" * 78 + "…"),
        ("SOLVER: {LR: " + "1" * 400 + "}", None, "SOLVER.LR wants a number, got '" + "1" * 78 + "…"),
        ("SOLVER: {EPOCHS: 0x" + "f" * 5000 + "}", None, "wants a whole number, got '0xff"),
        ("SOLVER: {LR: " + "[" * 10_000 + "]" * 10_000 + "}", None, "not readable as YAML: nested too deeply"),
        ("SOLVER: {SCHEDULER: cosine}", None, "unknown key SOLVER.SCHEDULER; SOLVER.SCHEDULE step or cosine says it"),
        ("SOLVER: &a [*a]", None, "its anchors grow without end"),
        ("a: !!python/object/apply:os.system [ls]", None, "could not determine a constructor"),
        ("LOG: {PREFIX: ~nobody-here/x}", None, "LOG.PREFIX ~nobody-here/x: no home folder is known for ~nobody-here"),
        ("EXPERIMENT: {NAME: \x00}", None, "not readable as YAML: "),
    ],
)  # fmt: skip
def test_what_yaml_and_forks_may_say(tmp_path, text, name, value):
    if name is None:
        with pytest.raises(UserError) as error:
            from_yaml(tmp_path, text)
        assert value in str(error.value) and "\n" not in str(error.value)
        return
    found = from_yaml(tmp_path, text)
    for part in name.split("."):
        found = found[part]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("merge", ["[*{0}, *{0}]", "{{<<: [*{0}, *{0}]}}"])
def test_anchors_that_expand_without_end_are_refused_before_they_do(tmp_path, merge):
    names = [f"a{i}" for i in range(40)]
    first = "{x: 1}" if "<<" in merge else "[x, x]"
    lines = [f"{names[0]}: &{names[0]} {first}"]
    lines += [f"{new}: &{new} {merge.format(old)}" for old, new in itertools.pairwise(names)]
    (tmp_path / "a.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match="its anchors grow without end"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "options, message",
    [
        (["EXPERIMENT.PROJECT", "../.."], "EXPERIMENT.PROJECT may not begin with a dot, or have a part that does"),
        (["EXPERIMENT.PROJECT", "a/../../b"], "EXPERIMENT.PROJECT may not begin with a dot"),
        (["EXPERIMENT.PROJECT", "/tmp"], "EXPERIMENT.PROJECT is a folder below LOG.PREFIX, not a path of its own"),
        (["EXPERIMENT.PROJECT", "C:/x"], "EXPERIMENT.PROJECT is a folder below LOG.PREFIX"),
        (["EXPERIMENT.PROJECT", "x" * 300], "EXPERIMENT.PROJECT is longer than 200 bytes"),
        (["EXPERIMENT.NAME", "../.."], "EXPERIMENT.NAME may not begin with a dot"),
        (["EXPERIMENT.TAG", ".hidden"], "EXPERIMENT.TAG may not begin with a dot"),
        (["EXPERIMENT.NAME", "a\0b"], r"EXPERIMENT.NAME holds characters that no text has: 'a\\x00b'"),
        (["DATASET.ROOT", "a\udcff"], r"DATASET.ROOT holds characters that no text has: 'a\\udcff'"),
        (["DATASET.TYPE", "cifar101"], r"^DATASET.TYPE: unknown 'cifar101' \(did you mean 'cifar10'"),
        (["VID.INIT_PRED_VAR", "0.5", "VID.EPS", "1", "DISTILLER.TYPE", "VID"], "INIT_PRED_VAR must be above VID.EPS"),
        (["FITNET.INPUT_SIZE", "(1, 2, 3)"], "FITNET.INPUT_SIZE wants 2 numbers, got 3"),
        (["FITNET.INPUT_SIZE", "('a', 'b')"], "FITNET.INPUT_SIZE wants whole numbers"),
        (["REVIEWKD.SHAPES", "[]"], "REVIEWKD.SHAPES wants 1 to 16 numbers, got 0"),
        (["CRD.NCE.K", str(2**24), "SOLVER.BATCH_SIZE", str(2**20), "DISTILLER.TYPE", "CRD"], "NCE.K 16777216 takes"),
        (["PCKD.PREVIEW_GROWTH", "2", "DISTILLER.TYPE", "PCKD"], "PCKD.PREVIEW_GROWTH 2.0 to the power of"),
    ],
)  # fmt: skip
def test_what_is_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        checked(*options)


def test_whoever_reads_a_configuration_gets_one_in_range():
    with pytest.raises(UserError, match="^SOLVER.BATCH_SIZE must be at least 1, not 0$"):
        configure(None, ["SOLVER.BATCH_SIZE", "0"])


def test_a_value_in_a_message_is_cut_at_80_characters_and_a_message_is_one_line():
    assert shown("x" * 5000) == "'" + "x" * 78 + "…" and len(shown("x" * 5000)) == 80
    assert shown(10**5000) == "a int too large to show"
    assert one_line(f"A: no network '{'x' * 5000}' there") == f"A: no network '{'x' * 78}… there"
    assert one_line(f"no 'a' but 'b'; there are {'b, ' * 50}or 'c'").endswith("b, or 'c'"), "quotes of two values"
    assert str(UserError("a\n  b\x1b[2J\udcff")) == r"a b\x1b[2J\udcff"
    assert str(UserError("/" + "x" * 5000 + ".pth")) == "/" + "x" * 78 + "…" + "x" * 75 + ".pth"


def test_command_lines_are_refused_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["--seed", "1" * 5000], ["--seed", "-1"], ["--seed", str(2**63)], ["--device", "hpu"], ["--device", "x" * 5000],
        ["--cfg", "x" * 5000], ["--nonsense"], ["--cfg"], ["SOLVER.LR"], ["SOLVER.LR", "[" * 3000], ["X.Y", "1"],
        ["--cfg", "/dev/zero"], ["LOG.PREFIX", "~nobody-here"], ["EXPERIMENT.NAME", "\udcff"],
    ):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        assert exit_status(lambda: train("", "student")) == 2, arguments
        told = capsys.readouterr().err
        assert told.startswith("error: ") and told.count("\n") == 1 and len(told) < 500, told
    assert list(tmp_path.iterdir()) == []


def test_folders_have_portable_names_and_those_of_before_go_on(tmp_path):
    cfg = checked("LOG.PREFIX", str(tmp_path), "EXPERIMENT.PROJECT", 'a?/b"')
    name = r"x,SOLVER.LR:0.1,C:\<*>|."
    new, old = tmp_path / "a_/b_" / "x,SOLVER.LR=0.1,C=______", tmp_path / 'a?/b"' / name
    assert RunFolder(cfg, name).path == new and RunFolder(cfg, name).name == name
    old.mkdir(parents=True)
    assert RunFolder(cfg, name).path == old
    assert math.isclose(cfg.SOLVER.LR, 0.05)


def test_memory_is_what_is_free_and_what_a_container_may_have(tmp_path, monkeypatch):
    free, limit, missing = tmp_path / "meminfo", tmp_path / "memory.max", tmp_path / "gone"
    told = zip((free, limit, missing), _MEMORY, strict=True)
    monkeypatch.setattr("mdistiller_icc.settings._MEMORY", [(file, *how) for file, (_, *how) in told])
    free.write_text("MemTotal:       24683656 kB\nMemAvailable:       3072 kB\n")
    for told, there in (("max", 3), ("2097152", 2), ("9223372036854771712", 3)):
        limit.write_text(f"{told}\n")
        assert _memory() == there * 2**20
