"""The pictures of a report: t-SNE side by side, distance histograms, class-by-class bars.

Drawn on Agg canvases of their own: no display, no global state. The colours are told apart by
colour-blind readers too: Okabe and Ito's for teachers, CARTO's "Safe" with markers for classes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from mdistiller_icc.geometry.distances import Distances
from mdistiller_icc.geometry.extra import analysis_extra
from mdistiller_icc.geometry.fonts import families
from mdistiller_icc.geometry.outputs import Outputs
from mdistiller_icc.geometry.tsne import embed, pick

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
CLASS_COLOURS = (
    "#332288", "#88CCEE", "#CC6677", "#117733", "#DDCC77", "#AA4499",
    "#44AA99", "#882255", "#999933", "#6699CC", "#661100", "#888888",
)  # fmt: skip
MARKERS = "osD^vP"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "text.parse_math": False,  # a dollar sign in a name is one
}
PER_ROW, LONGEST_NAME = 4, 36
BARS_PER_ROW, MOST_BARS = 50, 200


@contextmanager
def canvas(
    panels: int, per_row: int, width: float, height: float, names: Iterable[str] = ()
) -> Iterator[tuple[Any, list[Any]]]:
    """Give a figure with at least one panel of ``width`` × ``height`` inches, in the house style, and its axes.

    Args:
        names: what will be written in it, in any script.
    """
    with analysis_extra():
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    rows = max(math.ceil(panels / per_row), 1)
    columns = max(math.ceil(panels / rows), 1)
    with matplotlib.rc_context(STYLE | {"font.family": families(names)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # `families` has told
        figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for spare in axes[panels:]:
            spare.set_axis_off()
        yield figure, axes[:panels]


def tsne(
    outputs: Mapping[str, Outputs],
    distances: Mapping[str, Distances],
    classes: Sequence[str],
    path: str | Path,
    images: int = 1000,
    shown_classes: int = 10,
    seed: int = 0,
) -> Path:
    """Draw every teacher's t-SNE of the same images side by side and return the path.

    Args:
        outputs: by teacher; all of the same images in the same order.
        distances: by teacher, of all images; stated in the titles.
        classes: names in label order.
        path: the file to write; its ending says the format.
        images: the most images shown.
        shown_classes: the most classes shown, at most 12.
        seed: of the choice of images and of the layout.
    """
    target = next(iter(outputs.values())).target
    chosen = pick(target, min(shown_classes, len(CLASS_COLOURS)), images, seed)
    shown = target[chosen]
    names = [*outputs, *(classes[label] for label in shown.unique().tolist())]
    with canvas(len(outputs), PER_ROW, width=3.4, height=3.6, names=names) as (figure, axes):
        for axis, (name, one) in zip(axes, outputs.items(), strict=True):
            layout = embed(one.features[chosen], seed)
            for place, label in enumerate(shown.unique().tolist()):
                points = layout[shown == label]
                axis.scatter(
                    points[:, 0].numpy(),
                    points[:, 1].numpy(),
                    s=9,
                    marker=MARKERS[place % len(MARKERS)],
                    color=CLASS_COLOURS[place],
                    alpha=0.75,
                    linewidths=0,
                    label=classes[label],
                )
            axis.set(title=_title(name, distances[name]), xticks=[], yticks=[])
            axis.set_aspect("equal", adjustable="datalim")
            axis.spines[:].set_visible(True)
            axis.spines[:].set_color("0.8")
        handles, labels = axes[0].get_legend_handles_labels()
        per_line = 6 if len(axes) > 1 else 4
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), per_line), markerscale=2)
        figure.savefig(path)
    return Path(path)


def histograms(
    outputs: Mapping[str, Outputs],
    distances: Mapping[str, Distances],
    path: str | Path,
    images: int = 2000,
    seed: int = 0,
) -> Path:
    """Draw how far apart two images lie, within a class and across classes, for every teacher.

    The pairs are those of at most ``images`` images, spread evenly over the classes; arguments as `tsne`.
    """
    target = next(iter(outputs.values())).target
    chosen = pick(target, len(target.unique()), images, seed)
    same = target[chosen].unsqueeze(0) == target[chosen].unsqueeze(1)
    above = torch.ones_like(same).triu(1)
    with canvas(len(outputs), PER_ROW, width=3.4, height=2.8, names=outputs) as (figure, axes):
        for axis, (name, one) in zip(axes, outputs.items(), strict=True):
            unit = normalize(one.features[chosen].double(), dim=1)
            distance = torch.cdist(unit, unit)
            for colour, label, mask in ((0, "same class", same & above), (1, "different classes", ~same & above)):
                pairs = distance[mask]
                if len(pairs):
                    density = {"bins": 80, "range": (0.0, 2.0), "density": True}
                    axis.hist(pairs.numpy(), **density, histtype="stepfilled", alpha=0.25, color=COLOURS[colour])
                    axis.hist(pairs.numpy(), **density, histtype="step", color=COLOURS[colour], label=label)
            axis.set(title=_title(name, distances[name]), xlabel="distance of two images", xlim=(0, 2))
            axis.set(xticks=[0, 0.5, 1, 1.5, 2], yticks=[])
            axis.spines["left"].set_visible(False)
        axes[0].set_ylabel("density")
        handles, labels = axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=2)
        # One scale, so that the heights of two teachers can be compared.
        top = max(axis.get_ylim()[1] for axis in axes)
        for axis in axes:
            axis.set_ylim(0, top)
        figure.savefig(path)
    return Path(path)


def class_bars(distances: Mapping[str, Distances], classes: Sequence[str], path: str | Path) -> Path:
    """Draw every class's intra-class distance, one bar per teacher, the first teacher's tightest class first.

    Beyond 200 classes, 200 spread evenly over that order are shown.
    """
    first = next(iter(distances.values())).intra_per_class
    order = [label for _value, label in sorted((v, label) for label, v in enumerate(first) if v is not None)]
    total = len(order)
    if total > MOST_BARS:
        order = [order[round(i * (total - 1) / (MOST_BARS - 1))] for i in range(MOST_BARS)]
    rows = [order[start : start + BARS_PER_ROW] for start in range(0, len(order), BARS_PER_ROW)]
    slots = max((len(row) for row in rows), default=0)
    width = min(max(6.0, 0.8 + slots * (0.12 + 0.12 * len(distances))), 18.0)
    thickness = 0.8 / len(distances)
    highest = max((one.intra_per_class[label] or 0.0 for one in distances.values() for label in order), default=0.0)
    longest = max((len(classes[label]) for label in order), default=0)
    rotation = 90 if slots > 12 else 30 if longest > 3 else 0
    height = 2.4 + 0.07 * longest * (rotation == 90)
    names = [*distances, *(classes[label] for label in order)]
    with canvas(max(len(rows), 1), 1, width=width, height=height, names=names) as (figure, axes):
        for axis, row in zip(axes, rows, strict=False):
            for place, (name, one) in enumerate(distances.items()):
                shift = (place - (len(distances) - 1) / 2) * thickness
                places = [slot + shift for slot in range(len(row))]
                heights = [one.intra_per_class[label] or 0.0 for label in row]
                colour = COLOURS[place % len(COLOURS)]
                axis.bar(places, heights, thickness, color=colour, label=_title(name, one))
            axis.set_xticks(range(len(row)), [classes[label] for label in row], rotation=rotation)
            axis.set(ylabel="intra-class distance", xlim=(-0.6, slots - 0.4), ylim=(0, highest * 1.05 or 1))
        handles, labels = axes[0].get_legend_handles_labels()
        if handles:
            title = f"{len(order)} of {total} classes" if total > len(order) else None
            figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 3), title=title)
        figure.savefig(path)
    return Path(path)


def _title(name: str, distances: Distances) -> str:
    if len(name) > LONGEST_NAME:  # the ends tell names apart, wherever they were generated
        name = f"{name[: LONGEST_NAME // 2]}…{name[-(LONGEST_NAME // 2) :]}"
    figures = {"intra": distances.intra, "inter": distances.inter, "ratio": distances.ratio}
    return name + "\n" + ", ".join(f"{key} {'–' if v is None else format(v, '.3f')}" for key, v in figures.items())
