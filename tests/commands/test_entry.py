"""``mdistiller-icc`` itself: its first word, its help, and that the scripts in ``tools/`` are the same commands."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mdistiller_icc.calling import SCRIPTS
from mdistiller_icc.command_line import split_overrides
from mdistiller_icc.commands.entry import COMMANDS, main
from mdistiller_icc.errors import UserError, exit_status
from mdistiller_icc.version import __version__

ROOT = Path(__file__).parents[2]


def test_no_help_imports_torch():
    program = f"""
import sys
from mdistiller_icc.commands.entry import main
for words in ["--help"], ["--version"], *([name, "--help"] for name in {list(COMMANDS)}):
    try:
        main(words)
    except SystemExit as ended:
        assert ended.code == 0
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout
    for name in COMMANDS:
        assert f"usage: mdistiller-icc {name} " in done.stdout
    for name in set(COMMANDS) - {"collect"}:
        assert "--import" in done.stdout.partition(f"usage: mdistiller-icc {name} ")[2].partition("usage: mdisti")[0]


def test_the_quickstarts_help_is_its_own(command):
    done = command("tools/quickstart.py", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: quickstart.py")
    assert "Does an ICC teacher help?" in done.stdout and "TABLE" not in done.stdout


def test_what_the_output_cannot_show_stops_no_command(command, here):
    digits = ["-q", "DATASET.TYPE", "digits", "DISTILLER.STUDENT", "resnet8", "SOLVER.EPOCHS", "1", "DATASET.FRACTION"]
    for encoding, name in (("latin-1", "実験"), ("cp1252", "→")):
        done = command("tools/train.py", *digits, "0.1", "EXPERIMENT.NAME", name, env={"PYTHONIOENCODING": encoding})
        assert done.returncode == 0, done.stderr
        shown = name.encode(encoding, "backslashreplace").decode(encoding)
        assert done.stdout.endswith(f"run: output/distill/{shown}\n") and shown.startswith("\\u")
        assert (here / "output/distill" / name / "student_latest").is_file()


def test_without_a_word_it_lists_the_commands(capsys):
    assert main([]) == 2
    told = capsys.readouterr().out
    assert all(f"\n  {name:12}{command.about}" in told for name, command in COMMANDS.items())


def test_an_unknown_command_is_told_the_nearest():
    with pytest.raises(UserError, match=r"no command 'trian' \(did you mean 'train'\?\); there are quickstart, "):
        main(["trian", "--cfg", "x"])


def test_an_option_is_no_settings_value():
    for option in ("--resume", "--out=x", "-q", "-bs"):
        with pytest.raises(UserError, match=f"^EXPERIMENT.NAME: its value is missing before {option}$"):
            main(["train", "EXPERIMENT.NAME", option])
    assert split_overrides(["SOLVER.LR", "-1e-2", "KD.X", "-inf"]) == ([], ["SOLVER.LR", "-1e-2", "KD.X", "-inf"])


def test_a_machine_without_room_for_temporary_files_is_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [])
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert exit_status(lambda: print(tempfile.gettempdir())) == 2
    assert capsys.readouterr().err == "error: No usable temporary directory found in []\n"


def test_a_tilde_is_the_home_folder_wherever_a_path_stands(here, monkeypatch, capsys, tmp_path_factory):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("MDISTILLER_ICC_HOST", "builtin")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (here / "c.yaml").write_text("DATASET: {TYPE: digits}\nDISTILLER: {STUDENT: resnet8}\n")
    (here / "of_home.py").write_text("SEEN = True\n")
    about = "dataset: digits, epochs: {full: 2, short: 1}, teachers: {icc: }, methods: {KD: }"
    pairs = "pairs: [{teacher: resnet8, student: resnet8}]"
    (here / "t.yaml").write_text(f"{{imports: [~/gone.py], {about}, {pairs}}}")
    for words in (
        ["eval", "~/run/best", "--out=~/ev", "--cfg=~/c.yaml", "--import=~/of_home.py"],
        ["eval", "-c=~/mdistillers", "--cfg=~/c.yaml"],
        ["export", "~/run/best", "--out=~/made/x.pth"],
        ["probe", "~/run/best", "--on", "digits"],
    ):
        assert main(words) == 0
    assert (here / "ev/eval.json").is_file() and (here / "made/x.pth").is_file() and "of_home" in sys.modules
    assert not [*Path().iterdir()], "nothing is called ~"
    for words, path in (
        (["collect", "~/none"], "none"),
        (["collect", "~/run", "--pictures", "~/none.png"], "none.png"),
        (["reproduce", "~/none.yaml"], "none.yaml"),
        (["reproduce", "~/t.yaml", "--plan"], "gone.py: no such file"),
    ):
        with pytest.raises(UserError, match=f"{here}/{path}"):
            main(words)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_in_tools_calls_the_same_function(name):
    script = ROOT / "tools" / SCRIPTS.get(name, f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"tools_{name}", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = COMMANDS[name].main
    function = getattr(function, "func", function)  # of a partial
    assert function in vars(module).values()
