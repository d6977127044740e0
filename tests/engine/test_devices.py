"""Which device a run is on; what can be told of GPUs where there is none."""

from __future__ import annotations

import pytest
import torch

from mdistiller_icc.errors import UserError
from mdistiller_icc.run import resolve_device


@pytest.mark.parametrize("name, number", [("auto", 2), ("cuda", 2), ("cuda:1", 1)])
def test_a_gpu_has_its_number_without_which_torch_does_not_make_it_the_current_one(monkeypatch, name, number):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)  # nor is there one to put anything on
    chosen = []
    monkeypatch.setattr(torch._C, "_cuda_setDevice", chosen.append, raising=False)
    torch.cuda.set_device(resolve_device(name))
    assert chosen == [number]


def test_a_device_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(UserError, match="^--device cuda:99: .*; here there is cpu"):
        resolve_device("cuda:99")
    assert resolve_device("cpu") == torch.device("cpu")
