"""A trained network in a file for use elsewhere; the command line of ``mdistiller-icc export``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdistiller_icc import whole_file
from mdistiller_icc.command_line import Parser, add_configuration, split_overrides
from mdistiller_icc.errors import UserError, nearest
from mdistiller_icc.own_code import import_all
from mdistiller_icc.paths import expand, make_folder

if TYPE_CHECKING:
    from torch import Tensor
    from yacs.config import CfgNode

    from mdistiller_icc.data import Loaded

ENDINGS = {
    ".pth": "a plain state dict",
    ".pt": "the same",
    ".safetensors": "the same as safetensors",
    ".pt2": "torch.export",
    ".onnx": "ONNX",
}
"""What the ending of ``--out`` asks for."""
TOLERANCE = 1e-3
"""How much an exported network's logits may differ from the network's own, relative to the largest of them."""


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``tools/export.py``."""
    made = Parser(
        prog=prog,
        usage="%(prog)s CHECKPOINT --out FILE [--overwrite] [KEY VALUE ...]",
        description="Write a trained network, of a run the student alone, into a file for use elsewhere, and compare "
        "what is in the file with the network on real images.",
        epilog=f"FILE ends in {', '.join(f'{ending} ({what})' for ending, what in ENDINGS.items())}. Architecture and "
        "data set are those that the checkpoint, or the record.json beside it, says; else cifar100 and "
        "DISTILLER.STUDENT. KEY VALUE pairs override the configuration, e.g. DATASET.ROOT data",
    )
    made.add_argument("words", nargs="+", metavar="CHECKPOINT", help="of anybody's: ours, mdistiller's, RepDistiller's")
    made.add_argument("--out", required=True, metavar="FILE", help="the file to write; its ending says the format")
    made.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    made.add_argument(
        "--images", type=int, default=64, metavar="N", help="how many to compare on (default: %(default)s)"
    )
    add_configuration(made)
    return made


def main(words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Export the network that a command line names and say how far the file is from it."""
    own, overrides = split_overrides(words)
    given = parser(prog).parse_intermixed_args(own)
    (checkpoint, *stray), out = given.words, expand(given.out, "--out")
    if out.suffix not in ENDINGS:
        raise UserError(f"--out {out}: ends in none of {', '.join(ENDINGS)}{nearest(out.suffix, ENDINGS)}")
    if given.images < 1:
        raise UserError(f"--images {given.images}: is not at least 1")
    if out.exists() and not given.overwrite:
        raise UserError(f"--out {out}: is there already; --overwrite replaces it")

    # After parsing: importing torch takes a second, --help must not.
    import torch

    from mdistiller_icc import data
    from mdistiller_icc.commands.formats import FORMATS
    from mdistiller_icc.plugin import register
    from mdistiller_icc.run import configure
    from mdistiller_icc.run.network import Logits, about, load
    from mdistiller_icc.run.processes import refuse
    from mdistiller_icc.teachers import resolve

    refuse("export")
    import_all(given.imports)
    said = about(checkpoint)
    first = said.options if given.cfg is None else []
    cfg = configure(given.cfg, [*first, *stray, *overrides])
    described = data.described(cfg)
    models = register(verbose=False).host.models(described.name, described.image_size)
    loaded, missing = _loaded(cfg)
    count = said.num_classes or (loaded.num_classes if loaded else described.num_classes)
    mean, std = (loaded.mean, loaded.std) if loaded else (described.mean, described.std)
    if count is None or mean is None or std is None:
        raise UserError(missing)
    classes = said.classes or (loaded.classes if loaded else tuple(map(str, range(count))))
    network, whose = load(models, cfg, checkpoint, said.architecture, classes)
    print(f"network: {whose} ({whose.path})")
    images = _images(loaded or _digits(cfg), given.images, described.image_size)

    told = {
        "architecture": whose.architecture, "dataset": described.name, "classes": list(classes),
        "image_size": images.shape[-1], "mean": list(mean), "std": list(std),
    }  # fmt: skip
    written = FORMATS[out.suffix]
    make_folder(out.parent)
    aside = out.with_name(f".{out.stem}.{os.getpid()}{out.suffix}")
    try:
        with whole_file.naming(out):
            written.write(network, images[:2], told, aside)
        again = written.read(aside, lambda: resolve.build(models, whose.architecture, cfg, count))
        with torch.no_grad():
            ours, theirs = Logits(network)(images), again(images)
        difference, largest = (ours - theirs).abs().max().item(), ours.abs().max().item()
        if not difference <= TOLERANCE * max(1.0, largest):
            raise UserError(f"--out {out}: not written: its logits differ by {difference:.2g} from the network's")
        with whole_file.naming(out):
            os.replace(aside, out)
    finally:
        aside.unlink(missing_ok=True)

    if missing:
        print(f"{described.name} is not there, so digits are compared on: {missing}")
    print(
        f"largest difference of a logit on {len(images)} test images of {loaded.name if loaded else 'digits'}: "
        f"{difference:.2g} (the largest logit is {largest:.3g})"
    )
    size = "×".join(map(str, images.shape[1:]))
    print(f"takes images N×{size}, RGB in [0, 1], less the mean {told['mean']}, over the deviation {told['std']}")
    print(out)
    return 0


def _loaded(cfg: CfgNode) -> tuple[Loaded | None, str]:
    """The data set, or None and why it cannot be read."""
    import torch

    from mdistiller_icc import data

    try:
        return data.load(cfg, 0, torch.device("cpu")), ""
    except UserError as error:
        return None, str(error)


def _digits(cfg: CfgNode) -> Loaded:
    """Real images that are always there."""
    import torch

    from mdistiller_icc import data

    other = cfg.clone()
    other.defrost()
    other.DATASET.TYPE = "digits"
    return data.load(other, 0, torch.device("cpu"))


def _images(loaded: Loaded, wanted: int, size: int) -> Tensor:
    """The first test images (N, 3, H, W), enlarged where they are another data set's and too small."""
    import torch
    from torch.nn import functional as F

    parts: list[Tensor] = []
    for image, _target in loaded.test:
        parts.append(image)
        if sum(map(len, parts)) >= wanted:
            break
    images = torch.cat(parts)[:wanted]
    return images if images.shape[-1] >= size else F.interpolate(images, size=size, mode="bilinear")
