"""Losses: pure functions of tensors, one to a file, built on torch alone.

Unless a docstring says otherwise, logits are (B, C), class numbers (B,), pooled features (B, D), maps (B, D, H, W). The
teacher's side is taken as constant, half types are computed in float32, and the loss is a scalar.

>>> import torch
>>> from mdistiller_icc.losses.kd import kd_loss
>>> kd_loss(torch.zeros(2, 10), torch.zeros(2, 10), temperature=4.0)
tensor(0.)
"""
