"""``python -m mdistiller_icc SCRIPT.py`` as a process, on a stand-in for mdistiller: what its command line does."""

from __future__ import annotations

import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.zoo import ZooNetwork

CONFIG = """
EXPERIMENT: {SEED: 1}
DISTILLER: {TYPE: ICCKD, TEACHER: resnet8_icc, STUDENT: resnet8}
"""


@pytest.fixture
def launch(python, tmp_path):
    def run(*arguments, **env):
        return python("-m", "mdistiller_icc", *arguments, cwd=tmp_path, **env)

    return run


def test_an_unedited_script_runs_with_everything_registered(launch, standin, tmp_path):
    (tmp_path / "teachers/cifar100").mkdir(parents=True)
    model = cifar_model_dict["resnet8"][0](num_classes=100)
    torch.save({"model": model.state_dict()}, tmp_path / "teachers/cifar100/resnet8_icc.pth")
    (tmp_path / "our.yaml").write_text(CONFIG)
    script = standin / "tools" / "train.py"
    # Neither is the checkout on the import path nor the folder the working one.
    done = launch(script, "our.yaml", "SOLVER.TRAINER", "icc")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    arguments = "['our.yaml', 'SOLVER.TRAINER', 'icc']"
    assert lines[-1] == f"ICCKD ['loss_ce', 'loss_kd'] True {device} {script} {arguments}"
    no_gpu = "; no GPU: .cuda() does nothing" if device == "cpu" else ""
    assert f"host: mdistiller 0.1 at {standin / 'mdistiller'}{no_gpu}\n" in done.stderr


def test_a_script_trains_networks_of_torchvision(launch, standin, tmp_path):
    name = "torchvision/shufflenet_v2_x0_5"
    (tmp_path / "teachers/cifar100/torchvision").mkdir(parents=True)
    model = ZooNetwork.named(name)(100)
    torch.save({"model": model.state_dict()}, tmp_path / f"teachers/cifar100/{name}_icc.pth")
    (tmp_path / "our.yaml").write_text(CONFIG)
    overrides = ["DISTILLER.TEACHER", f"{name}_icc", "DISTILLER.STUDENT", name, "SOLVER.TRAINER", "icc"]
    done = launch(standin / "tools" / "train.py", "our.yaml", *overrides)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("ICCKD ['loss_ce', 'loss_kd'] True")
    done = launch(standin / "tools" / "train.py", "our.yaml", "DISTILLER.TEACHER", name)
    assert done.returncode == 2 and "are for the 1,000 classes of imagenet, and this cifar100 has 100" in done.stderr


def test_a_mistake_in_a_script_is_one_line(launch, standin, tmp_path):
    (tmp_path / "our.yaml").write_text(CONFIG)
    done = launch(standin / "tools" / "train.py", "our.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: teachers/cifar100/resnet8_icc.pth: no such teacher; train it: ")
    assert done.stderr.count("\n") == 1


def test_a_shipped_configuration_is_known_by_name(launch, standin):
    done = launch(standin / "tools" / "train.py", "cifar100/dkd_icc")
    assert done.stderr.startswith("error: teachers/cifar100/resnet110_icc.pth: no such teacher; train it: ")
    assert done.stderr.endswith(" teacher --cfg icc/res110\n")


def test_a_command_may_take_the_scripts_place(launch):
    done = launch("eval", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m mdistiller_icc eval CHECKPOINT")


def test_a_scripts_own_failure_stays_loud(launch, standin):
    (standin / "tools" / "broken.py").write_text("raise KeyError('its own')\n")
    done = launch(standin / "tools" / "broken.py")
    assert done.returncode == 1 and "Traceback" in done.stderr and "KeyError: 'its own'" in done.stderr


def test_no_such_script(launch):
    done = launch("tools/train.py")
    assert (done.returncode, done.stderr) == (2, "error: tools/train.py: no such script\n")


def test_no_mdistiller_beside_the_script_nor_installed(launch, tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "train.py").write_text("")
    done = launch("tools/train.py")
    message = f"error: tools/train.py: there is no mdistiller/ in {tmp_path}, and none is installed\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_another_host_is_refused(launch, standin):
    script = standin / "tools" / "train.py"
    done = launch(script, MDISTILLER_ICC_HOST="builtin")
    message = f"error: MDISTILLER_ICC_HOST is 'builtin', but {script} runs in mdistiller itself; unset it\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_help_says_what_it_runs(launch):
    done = launch("--help")
    assert done.returncode == 0 and "unmodified mdistiller script" in done.stdout and done.stderr == ""


def test_a_user_without_a_name_gets_one(python, standin, tmp_path):
    """mdistiller asks for the user's name, which a container's user may not have."""
    code = (
        "import os, pwd\n"
        "def nobody(uid): raise KeyError('getpwuid(): uid not found')\n"
        "pwd.getpwuid = nobody\n"
        "[os.environ.pop(name, None) for name in ('LOGNAME', 'USER', 'LNAME', 'USERNAME')]\n"
        "from mdistiller_icc.launch import prepare\n"
        "prepare()\n"
        "import getpass; print(getpass.getuser() == str(os.getuid()))\n"
    )
    done = python("-c", code, cwd=tmp_path, path=(standin,), MDISTILLER_ICC_HOST="mdistiller")
    assert done.stdout.endswith("True\n"), done.stderr
