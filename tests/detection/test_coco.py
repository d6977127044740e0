"""COCO's files: what is read of them, what is left out, and what is refused in one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mdistiller_icc.detection.coco import Coco, load_image, load_masks
from mdistiller_icc.detection.loaders import TrainLoader, load
from mdistiller_icc.errors import UserError
from tests.detection.conftest import make


@pytest.fixture
def edited(pasted, tmp_path):
    """The training images with other annotations: ``edited(change)``, which changes the file's content."""

    def edit(change, masks=False):
        content = json.loads((pasted / "annotations" / "train.json").read_text())
        change(content)
        file = tmp_path / "train.json"
        file.write_text(json.dumps(content))
        return Coco(file, pasted / "train", masks)

    return edit


def test_boxes_labels_and_masks_are_those_that_were_pasted(pasted):
    data = Coco(pasted / "annotations" / "train.json", pasted / "train", masks=True)
    assert data.categories == (10, 20, 30, 40) and len(data.classes) == 4 and data.notes == []
    content = json.loads((pasted / "annotations" / "train.json").read_text())
    assert sum(len(picture.boxes) for picture in data.pictures) == len(content["annotations"])
    for picture in data.pictures:
        of_it = [one for one in content["annotations"] if one["image_id"] == picture.id]
        for box, label, mask, one in zip(picture.boxes, picture.labels, load_masks(picture), of_it, strict=True):
            x, y, width, height = one["bbox"]
            assert box.tolist() == [x, y, x + width, y + height] and 10 * label == one["category_id"]
            expected = np.zeros((picture.height, picture.width), np.uint8)
            expected[y : y + height, x : x + width] = 1
            assert np.array_equal(mask.numpy(), expected)


def test_run_lengths_are_read_as_polygons_are(edited):
    from pycocotools import mask

    def coded(content):
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for one in content["annotations"]:
            found = mask.frPyObjects(one["segmentation"], *sizes[one["image_id"]])[0]
            one["segmentation"] = {"size": found["size"], "counts": found["counts"].decode()}

    polygons, lengths = edited(lambda content: None, masks=True), edited(coded, masks=True)
    for one, other in zip(polygons.pictures, lengths.pictures, strict=True):
        assert torch.equal(load_masks(one), load_masks(other))


def test_crowds_boxes_without_area_and_empty_images_are_not_learnt_from(edited):
    def change(content):
        first, second, *_ = content["annotations"]
        first["iscrowd"], second["bbox"] = 1, [5, 5, 20, 0]
        content["images"].append({**content["images"][0], "id": 999})

    whole, less = edited(lambda content: None), edited(change)
    assert sum(len(p.boxes) for p in less.pictures) == sum(len(p.boxes) for p in whole.pictures) - 2
    assert less.notes == [f"{less.file}: a box has no area, and nothing is learnt from it: annotation 2"]
    assert less.pictures[-1].id == 999 and less.pictures[-1] not in less.with_objects()


def test_a_category_without_annotations_is_told(edited):
    data = edited(lambda content: content["categories"].append({"id": 50, "name": "unseen"}))
    assert data.notes == [f"{data.file}: no annotation has the category unseen"] and len(data.classes) == 5


def test_a_box_is_cut_at_its_image(edited):
    data = edited(lambda content: content["annotations"][0].update(bbox=[-5, 80, 30, 500]))
    picture = next(p for p in data.pictures if 0 in p.objects)
    assert picture.boxes[0].tolist() == [0, 80, 25, picture.height]


WRONG = {
    "no id": (lambda c: c["annotations"][0].pop("bbox"), "annotation 1: has no bbox"),
    "word": (lambda c: c["annotations"][0].update(bbox="x"), "annotation 1: cannot be read"),
    "negative": (lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]), "is no x, y, width, height"),
    "category": (lambda c: c["annotations"][0].update(category_id=7), "annotation 1: no category has the id 7"),
    "image": (lambda c: c["annotations"][0].update(image_id=77), "annotation 1: no image has the id 77"),
    "zero": (lambda c: c["annotations"][0].update(id=0), "takes the id 0 for no object"),
    "twice": (lambda c: c["annotations"][1].update(id=1), "two annotations have the id 1"),
    "file": (lambda c: c["images"][3].update(file_name="away.png"), "away.png: no such image"),
    "size": (lambda c: c["images"][0].update(height=0), "image 1 is 96×0 pixels"),
    "images": (lambda c: c["images"].clear(), "has no images"),
    "layout": (lambda c: c.pop("categories"), "is not in COCO's layout: it has no list of categories"),
    "same category": (lambda c: c["categories"][1].update(id=10), "the id 10 of a category is no number of its own"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_in_one_line(edited, case):
    change, message = WRONG[case]
    with pytest.raises(UserError) as error:
        edited(change)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_masks_that_are_wanted_must_be_there(edited):
    def change(content):
        del content["annotations"][0]["segmentation"]

    edited(change)
    with pytest.raises(UserError, match="annotation 1: has no segmentation"):
        edited(change, masks=True)


def test_files_that_are_missing_or_no_json(pasted, tmp_path):
    with pytest.raises(UserError, match=r"trian.json: no such annotation file \(did you mean 'train.json'\?\)"):
        Coco(pasted / "annotations" / "trian.json", pasted / "train", False)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match="a.json: is no JSON"):
        Coco(tmp_path / "a.json", pasted / "train", False)


def test_an_image_of_another_size_or_damaged_is_told_by_the_loader(pasted, tmp_path):
    shutil.copytree(pasted, tmp_path / "copy")
    data = Coco(tmp_path / "copy" / "annotations" / "train.json", tmp_path / "copy" / "train", False)
    Image.new("RGB", (10, 10)).save(data.pictures[0].path)
    with pytest.raises(UserError, match="is 10×10 pixels, and its annotations say 96×112"):
        load_image(data.pictures[0])
    data.pictures[0].path.write_bytes(b"no image")
    for workers in (0, 1):
        with pytest.raises(UserError, match="cannot be read as an image"):
            list(TrainLoader(data, 2, 0, 0, workers))


def test_two_files_of_other_categories(configured, pasted, tmp_path):
    make(tmp_path, "val", 2, seed=1)
    content = json.loads((tmp_path / "annotations" / "val.json").read_text())
    content["categories"][0]["name"] = "another"
    (tmp_path / "annotations" / "val.json").write_text(json.dumps(content))
    cfg = configured("DETECTION.VAL.ANNOTATIONS", str(tmp_path / "annotations" / "val.json"))
    with pytest.raises(UserError, match="its categories are not those of"):
        load(cfg, 0, masks=False)


def test_batches_are_the_same_again_and_every_image_comes_once_a_pass(pasted):
    data = Coco(pasted / "annotations" / "train.json", pasted / "train", masks=True)
    upright = {p.height > p.width for p in data.pictures}
    assert upright == {True, False}
    loader = TrainLoader(data, 2, 0, seed=5, workers=0)
    assert len(loader) == 7 and loader.sizes == [2] * 7
    seen = [image for step in range(7) for image, _ in loader._keys(step)]
    assert sorted(seen) == list(range(14)) and seen != sorted(seen)
    assert [loader._keys(step) for step in range(7, 14)] != [loader._keys(step) for step in range(7)]
    mixed = [
        len({data.pictures[image].height > data.pictures[image].width for image, _ in loader._keys(s)})
        for s in range(7)
    ]
    assert mixed.count(2) <= 1  # the rest alone

    # An epoch of another length goes through the same steps.
    short = TrainLoader(data, 2, 3, seed=5, workers=0)
    short.set_epoch(3)
    again = TrainLoader(data, 2, 0, seed=5, workers=0)
    numbers = [[target["number"] for target in targets] for _, targets in short]
    assert numbers == [[number for _, number in again._keys(step)] for step in range(6, 9)]
    other = TrainLoader(data, 2, 0, seed=6, workers=0)
    assert other._keys(0) != again._keys(0)
    with pytest.raises(UserError, match="SOLVER.BATCH_SIZE 15: .* has 14 images with objects, too few"):
        TrainLoader(data, 15, 0, seed=5, workers=0)


def test_a_mirrored_image_has_its_boxes_and_masks_mirrored(pasted):
    data = Coco(pasted / "annotations" / "train.json", pasted / "train", masks=True)
    mirrored = 0
    for images, targets in TrainLoader(data, 2, 14, seed=5, workers=0):
        for image, target in zip(images, targets, strict=True):
            picture = next(p for p in data.pictures if set(p.objects) == set(target["objects"].tolist()))
            plain = load_image(picture)
            if not torch.equal(image, plain):
                mirrored += 1
                assert torch.equal(image.flip(2), plain)
            for box, mask in zip(target["boxes"].long().tolist(), target["masks"], strict=True):
                x1, y1, x2, y2 = box
                assert mask[y1:y2, x1:x2].all() and int(mask.sum()) == (x2 - x1) * (y2 - y1)
    assert 0 < mirrored < 28
