"""SOLVER.COMPILE: the same training through torch.compile, and without it where it cannot be."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import warnings

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from mdistiller_icc import data
from mdistiller_icc.engine.compiled import advice
from mdistiller_icc.engine.generators import seed_everything
from mdistiller_icc.engine.progress import Silent
from mdistiller_icc.engine.trainer import BATCH, Trainer
from mdistiller_icc.errors import UserError
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure

RUN = [
    "DATASET.TYPE", "digits", "DATASET.FRACTION", "0.2", "DISTILLER.TYPE", "NONE", "DISTILLER.STUDENT", "resnet8",
    "SOLVER.EPOCHS", "2", "SOLVER.LR_DECAY_STAGES", "[1]",
]  # fmt: skip


def metrics(tmp_path, name):
    lines = (tmp_path / "output/distill" / name / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def train(command, tmp_path, name, *options, **env):
    done = command(
        "tools/train_teacher.py", *RUN, "EXPERIMENT.NAME", name, *options, "--overwrite",
        env={"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled"), **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr, metrics(tmp_path, name)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
@pytest.mark.parametrize("compiled", [False, True])
def test_who_trains_on_a_gpu_without_compiling_is_told(compiled, device):
    told = advice(compiled, torch.device(device))
    assert told is None if compiled or device == "cpu" else "SOLVER.COMPILE True" in told


def test_where_nothing_can_be_compiled_one_line_says_what_to_do(command, tmp_path):
    done = command(
        "tools/train_teacher.py", *RUN, "EXPERIMENT.NAME", "compiled", "SOLVER.COMPILE", "True",
        env={"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled"), "CXX": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert told.startswith("error: a compiled step failed (") and told.endswith("); train with SOLVER.COMPILE False")
    assert not list(tmp_path.glob("teachers/**/*.pth"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_training_differs_by_rounding(command, tmp_path):
    _, eager = train(command, tmp_path, "eager")
    _, compiled = train(command, tmp_path, "compiled", "SOLVER.COMPILE", "True")
    assert [epoch["lr"] for epoch in compiled] == [epoch["lr"] for epoch in eager] and eager[0]["lr"] > eager[1]["lr"]
    for one, other in zip(compiled, eager, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=0.02)


def test_what_is_compiled_is_the_folded_teacher():
    from torch._dynamo.testing import CompileCounterWithBackend

    from mdistiller_icc.builtin.models import cifar_model_dict
    from mdistiller_icc.distillers.base import Distiller
    from mdistiller_icc.engine.compiled import Compiled

    class Logits(Distiller):
        def forward_train(self, image, **_):
            return self.teach(image)[0] + self.student(image)[0]

    torch.manual_seed(0)
    method = Logits(*(cifar_model_dict["resnet8"][0](num_classes=10) for _ in range(2))).train()
    backend = CompileCounterWithBackend("aot_eager")
    compiled = Compiled(method, method, torch.device("cpu"))
    compiled._compiled = torch.compile(method, backend=backend)
    image = torch.randn(2, 3, 32, 32)
    expected = method(image=image)
    assert torch.allclose(compiled(image=image), expected, atol=1e-4)
    calls = [node.target for graph in backend.graphs for node in graph.graph.nodes if node.op == "call_function"]
    assert sum("batch_norm" in str(target) for target in calls) == 9, "the student's alone"


class Notes(Silent):
    def __init__(self):
        self.lines = []

    def note(self, line):
        self.lines.append(line)

    about = note


def trainer(*options):
    cfg = configure(None, [*RUN, "SOLVER.PRECISION", "fp32", *options])
    seed_everything(0)
    dataset = data.load(cfg, 0, torch.device("cpu"))
    host = register(verbose=False).host
    method = host.distiller_dict["NONE"](host.cifar_model_dict["resnet8"][0](num_classes=10))
    made = Trainer("compiled", method, dataset.train, [], cfg, progress=Notes())
    method.train()
    batches = [dict(zip(BATCH, batch, strict=False)) for batch in itertools.islice(dataset.train, 4)]
    return made, batches


def failing(part, after):
    """Compiles what then fails when it runs for the ``after``-th time, as a graph may that cannot be captured."""
    calls = []

    def run(graph, _inputs):
        def call(*arguments):
            calls.append(1)
            if len(calls) > after:
                raise RuntimeError(f"no {part} here\nand more lines")
            return graph(*arguments)

        return make_boxed_func(call)

    def whole(graph, _inputs):
        return make_boxed_func(graph.forward)

    return aot_autograd(
        fw_compiler=run if part == "forward" else whole, bw_compiler=run if part == "backward" else whole
    )


@pytest.mark.parametrize("part", ["forward", "backward"])
@pytest.mark.parametrize("after", [0, 2])
def test_a_step_that_fails_when_it_runs_is_told_and_not_taken_again(part, after):
    compiled, batches = trainer("SOLVER.COMPILE", "True")
    compiled.training_pass._compiled = torch.compile(compiled.distiller, backend=failing(part, after))
    for batch in batches[:after]:
        compiled.step(batch, 1)
    steps = compiled.distiller.student.bn1.num_batches_tracked.item()
    wanted = re.escape(f"a compiled step failed (RuntimeError: no {part} here); train with SOLVER.COMPILE False")
    with pytest.raises(UserError, match=f"^{wanted}$") as caught:
        compiled.step(batches[after], 1)
    assert "and more lines" in str(caught.value.__cause__)  # for whoever looks for the reason
    assert steps == after and compiled.distiller.student.bn1.num_batches_tracked.item() <= after + 1


def test_an_epoch_that_changes_nothing_more_is_no_new_number_to_compiled_code():
    from mdistiller_icc.distillers.base import Hooks
    from mdistiller_icc.engine.compiled import Compiled

    seen = []

    class Method(Hooks, torch.nn.Module):
        settled = 3

        def forward(self, image, epoch):
            seen.append(epoch)

    method = Method()
    compiled = Compiled(method, method, torch.device("cpu"))
    compiled._compiled = method
    for epoch in (1, 3, 4, 99):
        compiled(image=None, epoch=epoch)
    assert seen == [1, 3, 3, 3]
    cfg = configure(None, [*RUN, "DISTILLER.TYPE", "DKD", "DKD.WARMUP", "20", "ICC.WARMUP", "2"])
    host = register(verbose=False).host
    networks = [host.cifar_model_dict["resnet8"][0](num_classes=10) for _ in range(2)]
    assert host.distiller_dict["DKD"](*networks, cfg).settled == 20
    assert host.distiller_dict["ICC"](networks[0], None, cfg).settled == 3


def test_what_torch_advises_and_nobody_is_to_follow_is_not_said():
    from torch._inductor import config

    from mdistiller_icc.distillers.base import Hooks
    from mdistiller_icc.engine.compiled import Compiled

    class Method(Hooks, torch.nn.Module): ...

    method = Method()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        Compiled(method, method, torch.device("cpu"))
        for said in ("TensorFloat32 tensor cores for float32 matrix multiplication available", "something else"):
            warnings.warn(said, stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["something else"]
    assert config.triton.cudagraph_dynamic_shape_warn_limit is None


def test_training_goes_through_a_wrapper_and_checkpoints_do_not():
    plain, batches = trainer()
    wrapper, calls = torch.nn.DataParallel(plain.distiller), []
    wrapper.register_forward_hook(lambda *_: calls.append(1))
    made = Trainer("wrapped", wrapper, plain.train_loader, [], plain.cfg, progress=Notes())
    made.step(batches[0], 1)
    assert calls == [1] and made.distiller is plain.distiller


def test_of_several_gpus_of_dataparallel_the_first_is_used():
    """The others' replicas would lose what they remember."""
    plain, _ = trainer()
    wrapper, notes = torch.nn.DataParallel(plain.distiller), Notes()
    wrapper.device_ids = [0, 1]
    Trainer("wrapped", wrapper, plain.train_loader, [], plain.cfg, progress=notes)
    assert wrapper.device_ids == [0] and "torchrun trains on several" in notes.lines[0]


def test_an_error_of_the_method_itself_is_the_cause():
    compiled, batches = trainer("SOLVER.COMPILE", "True")
    compiled.distiller.student.fc = torch.nn.Linear(3, 10)  # does not fit
    eager, _ = trainer()
    eager.distiller.student.fc = torch.nn.Linear(3, 10)
    compiled.training_pass._compiled = compiled.distiller.forward
    with pytest.raises(UserError, match="shapes cannot be multiplied.*SOLVER.COMPILE False"):
        compiled.step(batches[0], 1)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        eager.step(batches[0], 1)
