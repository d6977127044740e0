"""Losses: pure functions of tensors, one to a file, built on torch alone."""
