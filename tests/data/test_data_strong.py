"""Batches with a strong view of each image beside the weak one, from every kind of loader, of real images."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from mdistiller_icc import ranks
from mdistiller_icc.data import digits, load
from mdistiller_icc.data.augment import Augmentation
from mdistiller_icc.data.strong import GREY, STRONG, strong_transform
from mdistiller_icc.errors import UserError

CPU = torch.device("cpu")
LOADERS = {
    "resident": {"DATASET.LOADER": "resident", "DATASET.NUM_WORKERS": 1},
    "inline": {"DATASET.LOADER": "workers", "DATASET.NUM_WORKERS": 0},
    "workers": {"DATASET.LOADER": "workers", "DATASET.NUM_WORKERS": 2},
}


@pytest.fixture(params=LOADERS)
def loader(request) -> dict:
    return LOADERS[request.param] | {"DATASET.FRACTION": 0.1}


def passed(train, epoch: int) -> list[list[torch.Tensor | None]]:
    train.set_epoch(epoch)
    return [list(batch) for batch in train]


def same(one, other) -> bool:
    pairs = [pair for batches in zip(one, other, strict=True) for pair in zip(*batches, strict=True)]
    return all(a is b is None or torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", STRONG)
def test_a_batch_is_that_of_one_view_and_its_strong_view(configure, loader, name):
    cfg = configure(loader)
    plain, both = load(cfg, 3, CPU), load(cfg, 3, CPU, strong=name)
    assert (plain.strong, both.strong) == (None, name)
    assert same(plain.test, both.test)
    two = passed(both.train, 1)
    assert same([batch[:3] for batch in two], passed(plain.train, 1))
    changed = []
    for image, _target, _index, contrast, strong in two:
        assert contrast is None and strong.dtype == torch.float32 and strong.shape == image.shape
        changed += [*(strong != image).flatten(1).any(1)]
    assert sum(changed) > 0.9 * len(changed)


@pytest.mark.parametrize("name", STRONG)
def test_strong_views_depend_on_seed_and_epoch_alone(configure, loader, name):
    build = [load(configure(loader), seed, CPU, strong=name).train for seed in (3, 3, 4)]
    before = torch.random.get_rng_state()
    first, second = passed(build[0], 1), passed(build[0], 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(second, passed(build[1], 2)), "a resumed run's second epoch"
    by_image = [torch.cat([b[4] for b in one])[torch.cat([b[2] for b in one]).argsort()] for one in (first, second)]
    assert (by_image[0] != by_image[1]).flatten(1).any(1).float().mean() > 0.8, "the same view every epoch"
    assert not same(second, passed(build[2], 2))


def test_strong_views_do_not_depend_on_the_number_of_processes_that_make_them(configure):
    for kind in ("resident", "workers"):
        options = {"DATASET.LOADER": kind, "DATASET.FRACTION": 0.1}
        none, two = (
            load(configure({**options, "DATASET.NUM_WORKERS": count}), 0, CPU, strong="randaugment-10").train
            for count in (0, 2)
        )
        assert same(passed(none, 1), passed(two, 1))


@pytest.mark.parametrize("kind", ["resident", "inline"])
def test_each_process_has_its_share_of_the_very_views(configure, monkeypatch, kind):
    cfg = configure({**LOADERS[kind], "DATASET.NUM_WORKERS": 0, "DATASET.FRACTION": 0.1, "SOLVER.BATCH_SIZE": 33})
    train = load(cfg, 0, CPU, strong="randaugment+cutout").train
    whole, shares = passed(train, 1), []
    monkeypatch.setattr(ranks, "world", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append(passed(train, 1))
    joined = [
        [None if a is None else torch.cat([a, b]) for a, b in zip(*pair, strict=True)]
        for pair in zip(*shares, strict=True)
    ]
    assert same(joined, whole)


def test_crds_candidates_stay_in_their_place(configure, loader):
    cfg = configure({**loader, "SOLVER.TRAINER": "crd"})
    plain, both = (load(cfg, 0, CPU, strong=strong).train for strong in (None, "randaugment-10"))
    assert same([batch[:4] for batch in passed(both, 1)], passed(plain, 1))


def test_files_are_decoded_once_for_both_views(configure, paint, tmp_path, monkeypatch):
    for split in ("train", "val"):
        for wnid in ("n01", "n02"):
            for number in range(2):
                paint(tmp_path / split / wnid / f"{number}.JPEG", 60 + number, (300, 260))
    options = {"DATASET.TYPE": "imagenet", "DATASET.ROOT": str(tmp_path), "DATASET.NUM_WORKERS": 0}
    loaded = load(configure(options), 0, CPU, strong="randaugment+cutout")
    opened, real = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *given, **more: opened.append(given) or real(*given, **more))
    ((image, _target, _index, _none, strong),) = loaded.train
    assert image.shape == strong.shape == (4, 3, 224, 224) and len(opened) == 4
    assert loaded.train.views(torch.tensor([3])).shape == (1, 3, 224, 224)


def made(name: str, image: torch.Tensor, augmentation: Augmentation, count: int) -> torch.Tensor:
    transform = strong_transform(name, augmentation, image.shape[-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.stack([transform(image) for _ in range(count)])


def test_a_square_of_up_to_half_the_side_is_cut_out():
    views = made("randaugment+cutout", torch.zeros(3, 32, 32, dtype=torch.uint8), Augmentation(), 300)
    sides = set()
    for view in views:
        rows, columns = (torch.nonzero((view == GREY).all(0).any(d)).flatten() for d in (1, 0))
        if len(rows) == 32:
            continue  # solarised and the like: the whole image is grey
        assert len(rows) == len(columns) == rows[-1] - rows[0] + 1 and len(rows) <= 16
        assert (view[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == GREY).all()
        sides.add(len(rows))
    assert sides == set(range(1, 17))


def test_magnitudes_are_random_or_fixed_as_the_name_says():
    """Of 14 operations of one magnitude, nine of them with two signs, no more than 23 times 23 pairs look different."""
    image = torch.from_numpy(digits.read().train.images[0])
    for name, least, most in (("randaugment-10", 100, 23**2), ("randaugment+cutout", 23**2 + 1, 2000)):
        steps = [step for step in STRONG[name](32) if "RandomErasing" not in str(step)]
        transform = v2.Compose([v2.ToPILImage(), *steps])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            views = torch.stack([transform(image) for _ in range(2000)])
        assert least <= len(views.flatten(1).unique(dim=0)) <= most


def test_the_weak_augmentation_comes_first():
    """An image whose right half alone is bright is mirrored now and then."""
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, :, 16:] = 200
    straight = made("randaugment-10", image, Augmentation(), 200).float()
    flipped = made("randaugment-10", image, Augmentation(flip=True), 200).float()
    left, right = slice(0, 16), slice(16, 32)
    brighter = [
        (views[..., left].mean((1, 2, 3)) > views[..., right].mean((1, 2, 3))).float().mean()
        for views in (straight, flipped)
    ]
    assert brighter[0] < 0.2 < 0.35 < brighter[1]


def test_an_unknown_strong_view_is_one_line(configure):
    with pytest.raises(UserError, match=r"no strong view 'randaugment-1' \(did you mean") as error:
        load(configure(), 0, CPU, strong="randaugment-1")
    assert "\n" not in str(error.value)
