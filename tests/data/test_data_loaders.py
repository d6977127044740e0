from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional

from mdistiller_icc.data import load
from mdistiller_icc.data.loaders import Normalize
from mdistiller_icc.data.resident import fits
from mdistiller_icc.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(params=["resident", "workers", "inline"])
def loader(request) -> dict:
    """Settings of every kind of loader; ``inline`` decodes in this process, without workers."""
    if request.param == "resident":
        return {"DATASET.LOADER": "resident", "DATASET.FRACTION": 0.2}
    workers = {"workers": 2, "inline": 0}[request.param]
    return {"DATASET.LOADER": "workers", "DATASET.NUM_WORKERS": workers, "DATASET.FRACTION": 0.2}


def epoch(train, number: int) -> list[torch.Tensor]:
    train.set_epoch(number)
    return [torch.cat(parts) for parts in zip(*train, strict=True)]


def test_digits_are_real_images_split_the_same_way_every_time(configure):
    one, two = load(configure(), 0, CPU), load(configure(), 1, CPU)
    assert (one.name, one.num_classes, one.image_size, one.num_data) == ("digits", 10, 32, 1437)
    assert one.classes == tuple("0123456789") and one.augmentation == "crop" and one.holdout is None
    assert one.test.num_data == 360 and len(one.test) == 4
    targets = torch.cat([target for _, target in one.test])
    assert torch.bincount(targets).tolist() == pytest.approx([36] * 10, abs=1)
    assert torch.equal(torch.cat([image for image, _ in one.test]), torch.cat([image for image, _ in two.test]))


def test_digits_are_normalised_and_never_mirrored(configure):
    bundle = load(configure({"SOLVER.BATCH_SIZE": 1437}), 0, CPU)
    whole, target, index = next(iter(bundle.train))
    assert abs(float(whole.mean())) < 0.2 and 0.8 < float(whole.std()) < 1.2
    pixels = bundle.train._pixels
    assert not pixels._augmentation.flip
    straight = torch.cat([image for image, _ in bundle.test])
    assert abs(float(straight.mean())) < 0.02 and abs(float(straight.std()) - 1) < 0.1


def test_a_pass_holds_every_training_image_once(configure, loader):
    bundle = load(configure(loader), 0, CPU)
    batches = list(bundle.train)
    assert len(batches) == len(bundle.train) == -(-bundle.num_data // 64)
    assert [len(batch[0]) for batch in batches[:-1]] == [64] * (len(batches) - 1)
    assert sum(len(batch[0]) for batch in batches) == bundle.train.num_data == bundle.num_data
    image, target, index = batches[0]
    assert image.dtype == torch.float32 and image.shape == (64, 3, 32, 32) and image.is_contiguous()
    assert target.dtype == index.dtype == torch.int64
    assert torch.equal(torch.cat([batch[2] for batch in batches]).sort().values, torch.arange(bundle.num_data))


def test_an_epoch_depends_on_seed_and_number_alone(configure, loader):
    train, again = load(configure(loader), 3, CPU).train, load(configure(loader), 3, CPU).train
    first, second = epoch(train, 0), epoch(train, 1)
    resumed = epoch(again, 1)
    assert all(torch.equal(one, other) for one, other in zip(second, resumed, strict=True))
    assert not torch.equal(first[2], second[2])
    other_seed = epoch(load(configure(loader), 4, CPU).train, 1)
    assert not torch.equal(second[2], other_seed[2])


def test_an_image_is_augmented_anew_every_epoch(configure, loader):
    train = load(configure(loader), 0, CPU).train
    seen = []
    for number in range(3):
        image, _, index = epoch(train, number)
        seen.append(image[index.argsort()])
    changed = (seen[0] != seen[1]).flatten(1).any(1).float().mean()
    assert changed > 0.9


def test_images_targets_and_indices_belong_together(configure, loader):
    plain = load(configure({**loader, "DATASET.LOADER": "resident"}), 0, CPU)
    images = torch.from_numpy(plain.train._pixels._images[plain.train._pixels._rows])
    image, target, index = epoch(load(configure(loader), 0, CPU).train, 2)
    assert torch.equal(target, plain.train._labels[index])
    # A crop moves at most 4 pixels, so its brightness stays near that of its own image and of no other's.
    brightness, own = image.mean((1, 2, 3)), images.float().mean((1, 2, 3))[index]
    assert torch.corrcoef(torch.stack([brightness, own]))[0, 1] > 0.8


def test_views_are_fresh_and_disturb_nothing(configure, loader):
    train, other = load(configure(loader), 0, CPU).train, load(configure(loader), 0, CPU).train
    index = torch.tensor([5, 5, 5, 5, 9])
    train.set_epoch(4)
    views = train.views(index)
    assert views.shape == (5, 3, 32, 32) and views.dtype == torch.float32
    assert not torch.equal(train.views(index), views), "the same views twice"
    assert any(not torch.equal(views[0], view) for view in views[1:4]), "one view for all"
    train.set_epoch(5)
    assert not torch.equal(train.views(index), views), "the same views in another epoch"
    train.set_epoch(4)
    with_views = [batch for batch in train if train.views(batch[2][:3]) is not None]
    other.set_epoch(4)
    assert torch.equal(other.views(index), views)
    for one, two in zip(with_views, other, strict=True):
        assert all(torch.equal(part, same) for part, same in zip(one, two, strict=True))


def test_the_runs_own_random_numbers_are_left_alone(configure, loader):
    bundle = load(configure({**loader, "SOLVER.TRAINER": "crd"}), 0, CPU)
    before = torch.random.get_rng_state()
    for batch in bundle.train:
        bundle.train.views(batch[2][:2])
    list(bundle.test)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("trainer", ["crd", "crd_dot"])
def test_crds_trainers_get_contrastive_indices(configure, loader, trainer):
    bundle = load(configure({**loader, "SOLVER.TRAINER": trainer}), 0, CPU)
    image, target, index, contrastive = epoch(bundle.train, 1)
    assert contrastive.shape == (bundle.num_data, 33)
    assert torch.equal(contrastive[:, 0], index)
    labels = torch.empty(bundle.num_data, dtype=torch.int64)
    labels[index] = target
    assert (labels[contrastive[:, 1:]] != target[:, None]).all()
    assert torch.equal(epoch(bundle.train, 1)[3], contrastive)
    plain = epoch(load(configure(loader), 0, CPU).train, 1)
    assert torch.equal(plain[0], image) and torch.equal(plain[2], index)


def test_a_holdout_is_set_apart_from_training(configure, loader):
    whole = load(configure(loader), 0, CPU)
    bundle = load(configure({**loader, "DATASET.HOLDOUT": 0.25}), 0, CPU)
    assert bundle.num_data + bundle.holdout.num_data == whole.num_data
    targets = torch.cat([target for _, target in bundle.holdout])
    assert torch.bincount(targets, minlength=10).min() >= 5
    image, _ = next(iter(bundle.holdout))
    assert torch.equal(image, next(iter(bundle.holdout))[0]), "held-out images are not augmented"
    rows = set(bundle.train._pixels._rows.tolist()), set(bundle.holdout._pixels._rows.tolist())
    assert rows[0] | rows[1] == set(whole.train._pixels._rows.tolist()) and not rows[0] & rows[1]
    assert set(load(configure({**loader, "DATASET.HOLDOUT": 0.25}), 9, CPU).train._pixels._rows.tolist()) == rows[0]


def test_workers_and_resident_agree_on_test_images(configure):
    resident = load(configure({"DATASET.LOADER": "resident"}), 0, CPU)
    workers = load(configure({"DATASET.LOADER": "workers"}), 0, CPU)
    assert (resident.loader, workers.loader) == ("resident", "workers")
    for (image, target), (other, same) in zip(resident.test, workers.test, strict=True):
        assert torch.equal(image, other) and torch.equal(target, same)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_images_are_normalised_as_torchvision_does(memory_format):
    mean, std = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
    image = torch.randint(0, 256, (5, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ours = Normalize(mean, std, CPU, memory_format)(image)
    theirs = torch.stack([functional.normalize(one / 255.0, mean, std) for one in image])
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert ours.is_contiguous(memory_format=memory_format)


def test_channels_last_changes_the_layout_alone(configure, loader):
    plain = load(configure(loader), 0, CPU)
    last = load(configure(loader), 0, CPU, memory_format=torch.channels_last)
    image, same = next(iter(last.train))[0], next(iter(plain.train))[0]
    assert image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()
    assert torch.equal(image, same)


def test_batches_share_no_memory(configure, loader):
    first, second = [batch[0] for batch in load(configure(loader), 0, CPU).train][:2]
    before = second.clone()
    first.zero_()
    assert torch.equal(second, before)


def test_what_takes_more_than_the_free_memory_is_not_resident():
    assert fits(1000, CPU) and not fits(10**16, CPU)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"DATASET.TYPE": "digit"}, "did you mean 'digits'"),
    ],
)
def test_a_setting_out_of_range_is_refused_in_one_line(configure, options, words):
    with pytest.raises(UserError, match=words) as error:
        load(configure(options), 0, CPU)
    assert "\n" not in str(error.value)


def test_an_accelerators_groups_of_batches_are_the_batches_of_a_cpu(configure, monkeypatch):
    monkeypatch.setattr("mdistiller_icc.data.resident.GROUP", 150)
    cfg = configure({"DATASET.LOADER": "resident", "SOLVER.BATCH_SIZE": 47, "DATASET.FRACTION": 0.3})
    one, two = load(cfg, 0, CPU), load(cfg, 0, CPU)
    for loader in (two.train, two.test):
        pixels = loader._pixels
        pixels._images, pixels._on_cpu = torch.from_numpy(pixels._images[pixels._rows]), False
    for plain, grouped in ((one.train, two.train), (one.test, two.test)):
        for batch, same in zip(plain, grouped, strict=True):
            assert all(torch.equal(part, other) for part, other in zip(batch, same, strict=True))
