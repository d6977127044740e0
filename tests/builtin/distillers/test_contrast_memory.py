"""CRD's memory: what it keeps, what it is contrasted with, and what is drawn when nothing is given."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdistiller_icc.builtin.config import CFG
from mdistiller_icc.builtin.distillers import CRD
from mdistiller_icc.builtin.distillers.contrast_memory import ContrastMemory
from mdistiller_icc.errors import UserError
from mdistiller_icc.losses.crd import crd_loss


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body, self.fc = nn.Linear(12, width), nn.Linear(width, 5)

    def forward(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        pooled = self.body(F.adaptive_avg_pool2d(image, 2).flatten(1))
        return self.fc(pooled), {"pooled_feat": pooled}


def embeddings(seed: int, size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (F.normalize(torch.randn(size, 6, generator=generator)) for _ in range(2))
    return student, teacher


def test_memory_mixes_and_renormalises_the_rows_of_the_batch_alone() -> None:
    memory = ContrastMemory(num_data=10, dim=6, temperature=0.1, momentum=0.75)
    before = [memory.memory_student.tolist(), memory.memory_teacher.tolist()]
    index = torch.tensor([7, 2, 0, 9])
    both = embeddings(0)
    memory(*both, index, torch.randint(10, (4, 6)))
    for rows, was, embedding in zip([memory.memory_student, memory.memory_teacher], before, both, strict=True):
        for number in range(10):
            if number not in index.tolist():
                assert rows[number].tolist() == was[number]
                continue
            new = embedding[index.tolist().index(number)].tolist()
            mixed = [0.75 * old + 0.25 * x for old, x in zip(was[number], new, strict=True)]
            expected = [x / math.hypot(*mixed) for x in mixed]
            assert rows[number].tolist() == pytest.approx(expected, abs=1e-6)


def test_each_network_meets_the_others_memory_as_it_was_before_the_batch() -> None:
    memory = ContrastMemory(num_data=10, dim=6, temperature=0.1, momentum=0.5)
    candidates = torch.randint(10, (4, 6))
    was = memory.memory_student.clone(), memory.memory_teacher.clone()
    student, teacher = embeddings(0)
    loss = memory(student, teacher, torch.arange(4), candidates)
    loss_student = crd_loss(student, was[1], candidates, 0.1, memory.log_normalisers[0])
    loss_teacher = crd_loss(teacher, was[0], candidates, 0.1, memory.log_normalisers[1])
    torch.testing.assert_close(loss, loss_student + loss_teacher)


def test_normalisers_are_of_the_first_batch_and_are_saved() -> None:
    memory = ContrastMemory(num_data=10, dim=6, temperature=0.1, momentum=0.5)
    assert memory.log_normalisers.isnan().all()
    memory(*embeddings(0), torch.arange(4), torch.randint(10, (4, 6)))
    first = memory.log_normalisers.clone()
    memory(*embeddings(1), torch.arange(4), torch.randint(10, (4, 6)))
    assert first.isfinite().all() and torch.equal(memory.log_normalisers, first)
    other = ContrastMemory(num_data=10, dim=6, temperature=0.1, momentum=0.5)
    other(*embeddings(2), torch.arange(4), torch.randint(10, (4, 6)))
    other.load_state_dict(memory.state_dict())
    other(*embeddings(3), torch.arange(4), torch.randint(10, (4, 6)))
    assert torch.equal(other.log_normalisers, first)


def test_memory_loaded_before_its_first_batch_is_normalised_by_the_next() -> None:
    untouched = ContrastMemory(num_data=10, dim=6, temperature=0.1, momentum=0.5).state_dict()
    memory = ContrastMemory(num_data=10, dim=6, temperature=0.1, momentum=0.5)
    memory(*embeddings(0), torch.arange(4), torch.randint(10, (4, 6)))
    memory.load_state_dict(untouched)
    assert memory(*embeddings(1), torch.arange(4), torch.randint(10, (4, 6))).isfinite()
    assert memory.log_normalisers.isfinite().all()


def test_a_first_step_that_is_left_out_is_not_what_scores_are_normalised_by() -> None:
    memory = ContrastMemory(num_data=10, dim=6, temperature=0.1, momentum=0.5)
    before, candidates = [buffer.clone() for buffer in memory.buffers()], torch.randint(10, (4, 6))
    for student, teacher in ((embeddings(0)[0] * math.nan, embeddings(0)[1]), embeddings(1)):
        memory(student, teacher, torch.arange(4), candidates)
        for buffer, was in zip(memory.buffers(), before, strict=True):  # as the engine does
            buffer.copy_(was)
    assert memory(*embeddings(2), torch.arange(4), candidates).isfinite() and memory.log_normalisers.isfinite().all()


def test_rows_begin_about_unit_length() -> None:
    memory = ContrastMemory(num_data=2000, dim=128, temperature=0.1, momentum=0.5)
    assert memory.memory_student.square().sum(1).mean().item() == pytest.approx(1, rel=0.02)


def test_candidates_are_drawn_from_all_images_where_none_are_given() -> None:
    cfg = CFG.clone()
    cfg.CRD.NCE.K = 4000
    torch.manual_seed(0)
    crd = CRD(Net(6), Net(7), cfg, num_data=20).train()
    seen = []
    forward = crd.contrast.forward
    crd.contrast.forward = lambda *inputs: seen.append(inputs[3]) or forward(*inputs)
    index = torch.tensor([3, 19, 0])
    crd(image=torch.randn(3, 3, 4, 4), target=torch.tensor([0, 1, 2]), index=index, epoch=1)
    (candidates,) = seen
    assert candidates.shape == (3, 4001) and torch.equal(candidates[:, 0], index)
    share = torch.bincount(candidates[:, 1:].flatten(), minlength=20) / (3 * 4000)
    assert (share - 1 / 20).abs().max() < 0.01


def test_more_candidates_than_there_is_memory_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdistiller_icc.settings._memory", lambda: 2**30)
    cfg = CFG.clone()
    cfg.CRD.NCE.K, cfg.SOLVER.BATCH_SIZE = 2**20, 64
    with pytest.raises(UserError, match="CRD.NCE.K 1048576 takes 1.5 GiB of memory; there are 1.0"):
        CRD.check(cfg)
    cfg.CRD.NCE.K = 2**14
    CRD.check(cfg)


def test_gradient_reaches_both_embeddings_and_no_memory() -> None:
    torch.manual_seed(0)
    crd = CRD(Net(6), Net(7), CFG.clone(), num_data=20).train()
    inputs = {"index": torch.tensor([3, 1]), "contrastive_index": torch.randint(20, (2, 9))}
    crd(image=torch.randn(2, 3, 4, 4), target=torch.tensor([0, 1]), **inputs)[1]["loss_kd"].backward()
    for parameters in (crd.student.body, crd.embed_s, crd.embed_t):
        assert parameters.weight.grad.abs().sum() > 0
    assert not crd.contrast.memory_student.requires_grad and list(crd.contrast.parameters()) == []
