"""Networks that come with their weights: those of torchvision, which torch downloads when they are first asked for."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError

import torch
from torch import nn

from mdistiller_icc.errors import UserError


def build(
    factory: Any,
    architecture: str,
    *,
    pretrained: bool = False,
    key: str = "DISTILLER.TEACHER",
    instead: str | None = None,
    **arguments: Any,
) -> nn.Module:
    """Call ``factory(pretrained=bool)`` of a host's ImageNet networks, or of a zoo's network.

    Args:
        factory: makes the network.
        architecture: its name.
        pretrained: whether it brings its weights along.
        key: the setting that names it.
        instead: another way to have weights, for the message; a file that ``{key}_CKPT`` names by default.
        arguments: the factory's others.

    Raises:
        UserError: its weights cannot be downloaded or read; the message says which file belongs where.
    """
    instead = instead or f"or name a file with {key}_CKPT"
    try:
        with _downloads_told(f"{key} {architecture}", instead):
            model: nn.Module = factory(pretrained=pretrained, **arguments)
            return model
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if not pretrained:
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{key} {architecture}: its weights cannot be read ({first:.120}); "
            f"delete what lies in {torch.hub.get_dir()}/checkpoints, {instead}"
        ) from None


@contextlib.contextmanager
def _downloads_told(network: str, instead: str) -> Iterator[None]:
    """Make a failed download of torch's one line."""
    download = torch.hub.download_url_to_file

    def told(url: str, dst: str, *args: Any, **kwargs: Any) -> None:
        try:
            download(url, dst, *args, **kwargs)
        except (OSError, RuntimeError) as error:  # no network, or not the file that was expected
            reason = error.reason if isinstance(error, URLError) else error
            raise UserError(f"{network}: {url} cannot be downloaded ({reason}); put it at {dst}, {instead}") from None

    torch.hub.download_url_to_file = told
    try:
        yield
    finally:
        torch.hub.download_url_to_file = download
