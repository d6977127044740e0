"""Pictures are really drawn, from real features (handwritten digits) and from degenerate ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from mdistiller_icc.errors import UserError
from mdistiller_icc.geometry import pictures, theory
from mdistiller_icc.geometry.distances import class_distances
from mdistiller_icc.geometry.outputs import Outputs
from mdistiller_icc.geometry.tsne import embed, pick

image = pytest.importorskip("matplotlib.image", reason="pictures need matplotlib: the analysis extra")


@pytest.fixture(scope="module")
def digits():
    """Two teachers' outputs on 300 digits: the pixels, and the pixels with noise on them."""
    from sklearn.datasets import load_digits

    data = load_digits()
    features, target = torch.tensor(data.data[:300]).float(), torch.tensor(data.target[:300])
    noise = 4 * torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(target, 10).float()
    return {"pixels": Outputs(features, logits, target), "noisy pixels": Outputs(features + noise, logits, target)}


def distances_of(outputs):
    return {name: class_distances(one.features, one.target, one.logits.shape[1]) for name, one in outputs.items()}


def ink(path):
    """The share of a picture's pixels that are not white, and how many colours it has."""
    pixels = image.imread(path)[..., :3]
    coloured = (pixels < 1).any(-1)
    return coloured.mean(), len(np.unique((pixels[coloured] * 15).astype(int), axis=0))


NAMES = tuple("zero one two three four five six seven eight nine".split())


def test_tsne_shows_every_teacher_in_every_class_colour(digits, tmp_path):
    path = pictures.tsne(digits, distances_of(digits), NAMES, tmp_path / "tsne.png", images=100)
    share, colours = ink(path)
    assert share > 0.01 and colours > 20
    width, height = image.imread(path).shape[1::-1]
    assert width > 1.6 * height


def test_histograms_and_bars_are_drawn(digits, tmp_path):
    for path in (
        pictures.histograms(digits, distances_of(digits), tmp_path / "histograms.png"),
        pictures.class_bars(distances_of(digits), NAMES, tmp_path / "classes.png"),
    ):
        share, colours = ink(path)
        assert share > 0.03 and colours > 4


def test_bars_of_many_classes_and_teachers_stay_within_200(tmp_path):
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(900) % 450
    outputs = {
        f"a teacher with a very long name indeed {i}": Outputs(
            torch.randn(900, 4, generator=generator), torch.zeros(900, 450), target
        )
        for i in range(3)
    }
    path = pictures.class_bars(distances_of(outputs), tuple(map(str, range(450))), tmp_path / "classes.png")
    assert ink(path)[0] > 0.03
    height, width = image.imread(path).shape[:2]
    assert height < width  # four rows of 50; nine would be higher than wide


@pytest.mark.parametrize("target", [[0] * 6, [0, 1, 2, 3, 4, 5], [3, 3, 3, 3, 3, 5]])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_degenerate_spaces_are_drawn_too(target, scale, tmp_path):
    features = scale * torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    outputs = {"one": Outputs(features, torch.zeros(6, 6), torch.tensor(target))}
    distances = distances_of(outputs)
    names = tuple("abcdef")
    assert pictures.tsne(outputs, distances, names, tmp_path / "tsne.png").stat().st_size > 1000
    assert pictures.histograms(outputs, distances, tmp_path / "histograms.png").stat().st_size > 1000
    assert pictures.class_bars(distances, names, tmp_path / "classes.png").stat().st_size > 1000


def test_a_layout_is_repeatable_and_keeps_classes_together(digits):
    one = digits["pixels"]
    chosen = pick(one.target, 4, 120)
    first, again = embed(one.features[chosen]), embed(one.features[chosen])
    assert torch.equal(first, again)
    target = one.target[chosen]
    nearest = (torch.cdist(first, first) + 1e9 * torch.eye(len(first))).argmin(1)
    assert (target[nearest] == target).float().mean() > 0.9


def test_a_layout_of_one_dimension_or_one_point_has_no_nan():
    assert embed(torch.arange(-8.0, 8.0).unsqueeze(1)).isfinite().all()
    assert torch.equal(embed(torch.ones(9, 4)), torch.zeros(9, 2))
    with pytest.raises(UserError, match="at least 5 images, got 4"):
        embed(torch.eye(4))


def test_the_choice_of_images_is_even_bounded_and_depends_on_the_seed():
    target = torch.arange(1000) % 20
    chosen = pick(target, classes=10, images=95, seed=0)
    assert torch.equal(chosen, pick(target, 10, 95, seed=0))
    assert not torch.equal(chosen, pick(target, 10, 95, seed=1))
    counts = torch.bincount(target[chosen], minlength=20)
    assert sorted(counts.tolist()) == [0] * 10 + [9] * 10
    assert counts[0] and counts[19]
    assert len(pick(target, classes=30, images=7)) == 7
    assert len(pick(target[:0], 10, 10)) == 0


def test_the_theory_picture_is_drawn_with_and_without_a_fit(tmp_path):
    measured = {"cross-entropy": ([0.0, 0.01, 0.02, 0.05], [1.3, 2.0, 1.5, 1.2]), "contrastive": ([0.0], [1.0])}
    share, colours = ink(theory.picture(measured, "ratio", tmp_path / "theory.png"))
    assert share > 0.01 and colours > 5


def test_a_missing_library_is_one_line_naming_the_extra(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"need matplotlib: pip install 'mdistiller_icc\[analysis\]'"):
        pictures.class_bars(distances_of(digits), NAMES, tmp_path / "classes.png")
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(UserError, match="need sklearn"):
        embed(torch.eye(9))


def test_figures_need_no_drawing_library():
    program = (
        "import sys; import mdistiller_icc.geometry.report, mdistiller_icc.geometry.pictures; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
