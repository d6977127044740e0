"""Compare any number of teachers: figures, JSON, a Markdown table and the pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.geometry.classes import mean
from mdistiller_icc.geometry.distances import Distances, class_distances
from mdistiller_icc.geometry.margins import accuracy, class_margins
from mdistiller_icc.geometry.outputs import Outputs, outputs_of
from mdistiller_icc.geometry.soft_labels import entropy, within_class_share
from mdistiller_icc.paths import make_folder

TEMPERATURES = (1.0, 4.0)

MEANING = {
    "top1": "accuracy on these images, %",
    "intra": "root-mean-square distance of two images of a class, L2-normalised pooled features, mean over classes",
    "inter": "root-mean-square distance of a class's mean feature from the other classes', mean over classes",
    "ratio": "intra / inter",
    "margin": "probability of the true class minus the largest other, mean over classes of the class means",
    "entropy": "mean entropy of softmax(logits / T), nats",
    "within_share": "share of the variance of softmax(logits / T) that lies within classes",
}
"""One line for every figure; the formulas are beside the functions that compute them."""


@dataclass(frozen=True)
class Geometry:
    """One teacher's figures; ``entropy`` and ``within_share`` by temperature, None where undefined."""

    top1: float
    distances: Distances
    margin: float | None
    margin_per_class: list[float | None]
    entropy: dict[float, float]
    within_share: dict[float, float | None]


def measure(outputs: Outputs) -> Geometry:
    """Return every figure of one teacher's outputs."""
    features, logits, target = outputs.features, outputs.logits, outputs.target
    per_class = class_margins(logits, target)
    return Geometry(
        top1=accuracy(logits, target),
        distances=class_distances(features, target, logits.shape[1]),
        margin=mean(per_class),
        margin_per_class=per_class,
        entropy={t: entropy(logits, t) for t in TEMPERATURES},
        within_share={t: within_class_share(logits, target, t) for t in TEMPERATURES},
    )


@dataclass(frozen=True)
class Report:
    """The figures of several teachers on the same images, and the outputs the pictures are drawn from."""

    geometry: dict[str, Geometry]
    outputs: dict[str, Outputs]
    classes: tuple[str, ...]
    about: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the outputs, ready for JSON."""
        target = next(iter(self.outputs.values())).target
        return {
            "schema": 1,
            "about": self.about,
            "images": len(target),
            "classes": list(self.classes),
            "meaning": MEANING,
            "teachers": {name: _flat(geometry) for name, geometry in self.geometry.items()},
        }

    def markdown(self) -> str:
        """Return the comparison as a Markdown table, one row per teacher, with the meaning of its columns."""
        header = ["teacher", "top-1 (%)", "intra", "inter", "ratio", "margin"]
        header += [f"entropy T={t:g}" for t in TEMPERATURES] + [f"within share T={t:g}" for t in TEMPERATURES]
        rows = [header, ["---"] + ["---:"] * (len(header) - 1)]
        for name, one in self.geometry.items():
            d = one.distances
            figures = [d.intra, d.inter, d.ratio, one.margin, *one.entropy.values(), *one.within_share.values()]
            rows.append([name.replace("|", r"\|"), f"{one.top1:.2f}", *map(_cell, figures)])
        table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        target = next(iter(self.outputs.values())).target
        notes = "\n".join(f"- **{key}**: {meaning}" for key, meaning in MEANING.items())
        source = " ".join(str(self.about[key]) for key in ("dataset", "split") if key in self.about)
        images = f"{len(target):,} {source} images of {len(target.unique())} classes".replace("  ", " ")
        return f"{table}\n\n{images}.\n\n{notes}\n"


def analyse(
    models: Mapping[str, nn.Module],
    loader: Iterable[Sequence[Tensor]],
    device: torch.device | str,
    classes: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> Report:
    """Return the geometry of several teachers on the same images.

    Args:
        models: networks that return ``(logits, {"pooled_feat": …})``, by the name to show.
        loader: batches that begin with image and target; read once.
        device: where to compute.
        classes: the classes' names in label order; their numbers by default.
        about: where images and models come from, such as ``{"dataset": …, "split": …}``; kept in the JSON.

    Raises:
        UserError: there is no image, a model's outputs are not finite, or it was made for other classes.
    """
    outputs = outputs_of(models, loader, device)
    first = next(iter(outputs.values()))
    names = tuple(classes) or tuple(str(label) for label in range(first.logits.shape[1]))
    for name, one in outputs.items():
        wanted = max(len(names), int(one.target.max()) + 1)
        if one.logits.shape[1] != wanted:
            raise UserError(f"{name}: tells {one.logits.shape[1]} classes apart, the data set has {wanted}")
    return Report({name: measure(one) for name, one in outputs.items()}, outputs, names, dict(about or {}))


def save(report: Report, folder: str | Path) -> dict[str, Path]:
    """Write ``report.json`` and ``report.md`` into ``folder`` and return their paths by ``json`` and ``markdown``."""
    folder = Path(folder)
    make_folder(folder)
    paths = {"json": folder / "report.json", "markdown": folder / "report.md"}
    paths["json"].write_text(json.dumps(report.as_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    paths["markdown"].write_text(report.markdown(), encoding="utf-8")
    return paths


def draw(report: Report, folder: str | Path) -> dict[str, Path]:
    """Draw the report's pictures into ``folder`` and return their paths by ``tsne``, ``histograms`` and ``classes``.

    Raises:
        UserError: the ``analysis`` extra is missing.
    """
    from mdistiller_icc.geometry import pictures

    folder = Path(folder)
    distances = {name: one.distances for name, one in report.geometry.items()}
    return {
        "tsne": pictures.tsne(report.outputs, distances, report.classes, folder / "tsne.png"),
        "histograms": pictures.histograms(report.outputs, distances, folder / "histograms.png"),
        "classes": pictures.class_bars(distances, report.classes, folder / "classes.png"),
    }


def _flat(geometry: Geometry) -> dict[str, Any]:
    figures = asdict(geometry)
    figures |= figures.pop("distances")
    for key in ("entropy", "within_share"):
        figures[key] = {f"{t:g}": value for t, value in figures[key].items()}
    return figures


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
