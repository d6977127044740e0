"""SOLVER.COMPILE: the same training through torch.compile, and without it where it cannot be."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

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


def test_where_nothing_can_be_compiled_one_line_says_so_and_training_is_the_same(command, tmp_path):
    _, eager = train(command, tmp_path, "eager")
    told, fallen_back = train(command, tmp_path, "fallback", "SOLVER.COMPILE", "True", CXX="/nonexistent")
    assert told.count("SOLVER.COMPILE: goes on without") == 1
    assert [epoch["train_loss"] for epoch in fallen_back] == [epoch["train_loss"] for epoch in eager]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_training_differs_by_rounding(command, tmp_path):
    _, eager = train(command, tmp_path, "eager")
    told, compiled = train(command, tmp_path, "compiled", "SOLVER.COMPILE", "True")
    assert "goes on without" not in told
    assert [epoch["lr"] for epoch in compiled] == [epoch["lr"] for epoch in eager] and eager[0]["lr"] > eager[1]["lr"]
    for one, other in zip(compiled, eager, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=0.02)


def test_what_is_compiled_is_the_folded_teacher():
    from torch._dynamo.testing import CompileCounterWithBackend

    from mdistiller_icc.builtin.models import cifar_model_dict
    from mdistiller_icc.distiller import Distiller
    from mdistiller_icc.engine.compiled import Compiled

    class Logits(Distiller):
        def forward_train(self, image, **_):
            return self.teach(image)[0] + self.student(image)[0]

    torch.manual_seed(0)
    method = Logits(*(cifar_model_dict["resnet8"][0](num_classes=10) for _ in range(2))).train()
    notes = []
    backend = CompileCounterWithBackend("aot_eager")
    compiled = Compiled(method, torch.device("cpu"), notes.append)
    compiled._compiled = torch.compile(method, backend=backend)
    image = torch.randn(2, 3, 32, 32)
    expected = method(image=image)
    assert torch.allclose(compiled(image=image), expected, atol=1e-4)
    calls = [node.target for graph in backend.graphs for node in graph.graph.nodes if node.op == "call_function"]
    assert sum("batch_norm" in str(target) for target in calls) == 9, "the student's alone"
    assert not notes
