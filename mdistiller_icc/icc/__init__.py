"""The ICC teacher recipe: margin gate, class queues, loss, weight."""

from mdistiller_icc.icc.distiller import ICC

__all__ = ["ICC"]
