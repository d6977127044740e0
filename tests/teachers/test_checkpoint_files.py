"""Damaged, foreign and hostile files: told in one line, and nothing in them runs."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import pathlib
import pickle
import random
import struct
import tarfile
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

from mdistiller_icc.builtin.models import cifar_model_dict
from mdistiller_icc.errors import UserError
from mdistiller_icc.teachers import checkpoint, weights

SIZES = [pytest.param(70, id="short"), pytest.param(2000, id="long", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def content():
    torch.manual_seed(0)
    state = cifar_model_dict["resnet8"][0](num_classes=10).state_dict()
    return {"model": state, "meta": {"kind": "icc", "classes": list("0123456789"), "top1": {"last": 91.3}}}


def saved(content, old=False):
    written = io.BytesIO()
    torch.save(content, written, _use_new_zipfile_serialization=not old)
    return written.getvalue()


RARE = {
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.uint16: "U16", torch.uint32: "U32",
    torch.uint64: "U64", torch.complex64: "C64",
}  # fmt: skip


def safetensors(state, **changed):
    """The bytes of a safetensors file, by its specification."""
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    names = {torch.float32: "F32", torch.int64: "I64", torch.bfloat16: "BF16"} | RARE
    for key, value in state.items():
        data = (
            value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.dim() else value.numpy().tobytes()
        )
        place = [len(numbers), len(numbers) + len(data)]
        header[key] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": place} | changed
        numbers += data
    told = json.dumps(header).encode()
    return struct.pack("<Q", len(told)) + told + numbers


def same(one, other):
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def bit(data, rng):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def block(data, rng):
    start, size = rng.randrange(len(data)), rng.choice((16, 512, 4096))
    data[start : start + size] = bytes(len(data[start : start + size]))


def cut(data, rng):
    del data[rng.randrange(len(data)) :]


def tried(path, data, damage, times, content):
    """How many damaged copies of a file are told, read to the bit all the same, or read as something else."""
    rng, counts = random.Random(damage.__name__), Counter()
    for _ in range(times):
        copy = bytearray(data)
        while copy == data:
            damage(copy, rng)
        path.write_bytes(copy)
        try:
            found = checkpoint.read(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            counts["told"] += 1
        else:
            counts["unharmed" if same(content, found) else "silent"] += 1
    print(f"{damage.__name__}: {times} tried, {dict(counts)}")
    return counts


@pytest.mark.parametrize("times", SIZES)
@pytest.mark.parametrize("damage", [bit, block, cut])
def test_damage_to_a_stored_teacher_is_told(tmp_path, content, damage, times):
    counts = tried(tmp_path / "file", saved(content), damage, times, content)
    assert counts["silent"] == 0 and counts["told"] > 0.9 * times


@pytest.mark.parametrize("times", SIZES)
@pytest.mark.parametrize("damage", [bit, block, cut])
@pytest.mark.parametrize("form", ["old", "safetensors"])
def test_damage_to_files_without_checksums_is_never_more_than_a_line(tmp_path, content, form, damage, times):
    data = saved(content, old=True) if form == "old" else safetensors(content["model"])
    counts = tried(tmp_path / "file", data, damage, times, content)
    assert damage is not cut or counts["told"] == times


def test_a_file_that_was_written_without_checksums_is_read(tmp_path, content):
    torch.serialization.set_crc32_options(False)
    try:
        (tmp_path / "file").write_bytes(saved(content))
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(content, checkpoint.read(tmp_path / "file"))


def archive(kind, content):
    written = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(written, "w") as made:
            made.writestr("teacher/ckpt.pth", saved(content))
    else:
        with tarfile.open(fileobj=written, mode=f"w:{kind}") as made:
            told = tarfile.TarInfo("teacher/ckpt.pth")
            told.size = len(saved(content))
            made.addfile(told, io.BytesIO(saved(content)))
    return written.getvalue()


FOREIGN = {
    "nothing": (lambda _: b"", "is empty"),
    "zeros": (lambda _: bytes(5000), "begins with zeros only"),
    "page": (lambda _: b"\n<!DOCTYPE html><html>Sign in</html>", "a web page, not a checkpoint"),
    "xml": (lambda _: b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page, not a checkpoint"),
    "pointer": (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "'git lfs pull' fetches it"),
    "json": (lambda _: b'{"message": "Not Found"}', "a text file, not a checkpoint"),
    "words": (lambda _: "pas trouvé".encode(), "a text file, not a checkpoint"),
    "tar": (lambda content: archive("", content), "a tar archive, not a checkpoint; unpack it"),
    "tar.gz": (lambda content: archive("gz", content), "a gzip archive, not a checkpoint; unpack it"),
    "tar.xz": (lambda content: archive("xz", content), "a xz archive, not a checkpoint; unpack it"),
    "zip": (lambda content: archive("zip", content), "a zip archive, not a checkpoint; unpack it"),
    "gz": (lambda content: gzip.compress(saved(content)), "a gzip archive, not a checkpoint; unpack it"),
    "npy": (lambda _: b"\x93NUMPY\x01\x00", "a NumPy file, not a checkpoint of torch's"),
    "hdf5": (lambda _: b"\x89HDF\r\n\x1a\n", "an HDF5 file, not a checkpoint of torch's"),
    "picture": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "damaged, or not a checkpoint"),
    "noise": (lambda _: random.Random(0).randbytes(9999), "damaged, or not a checkpoint"),
    "pickle": (lambda _: pickle.dumps({"a": 1}), "damaged, or not a checkpoint"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_checkpoint_says_what_it_is(tmp_path, content, kind):
    write, message = FOREIGN[kind]
    (tmp_path / "file").write_bytes(write(content))
    with pytest.raises(UserError, match=f"^{tmp_path / 'file'}: .*{message}"):
        checkpoint.read(tmp_path / "file")


def test_places_without_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "round").symlink_to("round")
    for name, message in {
        ".": "is a folder; name a file in it",
        "pipe": "is a pipe or a device",  # reading it would wait for ever
        "nowhere": "No such file",
        "round": "Too many levels of symbolic links",
    }.items():
        with pytest.raises(UserError, match=message):
            checkpoint.read(tmp_path / name)


def test_a_program_of_torchs_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "file", "w") as made:
        for name in ("net/data.pkl", "net/code/net.py", "net/constants.pkl"):
            made.writestr(name, b"x")
    with pytest.raises(UserError, match="a TorchScript program, not a checkpoint"):
        checkpoint.read(tmp_path / "file")


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_harmless_things_beside_the_weights_are_read(tmp_path, content, old):
    args = argparse.Namespace(lr=0.1, output=pathlib.Path("runs") / "1", stages=[150, 180], nothing=None)
    beside = {
        "args": args, "best": np.float64(71.5), "count": np.int64(3), "order": OrderedDict(a=1),
        "sizes": torch.Size([2]), "kinds": {"a", "b"}, "type": torch.float16, "device": torch.device("cpu"),
        7: ("tuple", 1 + 2j),
    }  # fmt: skip
    (tmp_path / "file").write_bytes(saved(content | beside, old))
    found = checkpoint.read(tmp_path / "file")
    assert vars(found["args"]) == vars(args) | {"output": pathlib.PurePosixPath("runs/1")}
    assert same({key: value for key, value in (content | beside).items() if key != "args"}, {
        key: value for key, value in found.items() if key != "args"
    })  # fmt: skip


def calls(marker):
    """Objects that a careless reader calls something for: a way into each part of Python."""
    made = str(marker)
    code = f"__import__('os').mkdir({made!r})"
    yield from ((os.mkdir, (made,)), (os.system, (f"mkdir {made}",)), (eval, (code,)), (exec, (code,)))
    yield from ((open, (made, "w")), (pathlib.Path.touch, (marker,)), (np.save, (made, np.zeros(1))))
    yield from ((torch.save, ({}, made)), (torch.load, (made,)), (__import__, ("this",)))
    yield (getattr, ({}, "keys"))


class Calling:
    def __init__(self, function, arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hiding_places(harm, content):
    yield harm
    yield {"model": harm}
    yield content | {"args": argparse.Namespace(lr=0.1, hidden=harm)}
    yield content | {"optimizer": {"state": {0: [harm]}}}
    yield OrderedDict(content["model"]) | {"fc.bias": harm}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_nothing_in_a_file_runs(tmp_path, content, old):
    marker, refused = tmp_path / "ran", 0
    for function, arguments in calls(marker):
        for hidden in hiding_places(Calling(function, arguments), content):
            (tmp_path / "file").write_bytes(saved(hidden, old))
            with pytest.raises(UserError, match="holds a .* which could run code when it is read, so it is not"):
                checkpoint.read(tmp_path / "file")
            assert not marker.exists() and not marker.with_suffix(".npy").exists()
            refused += 1
    print(f"{refused} files with a call in them: none ran")
    assert refused == 55


class Own(argparse.Namespace):
    """Not the one that is allowed."""


@pytest.mark.parametrize(
    "thing, name",
    [
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (random.Random(0), "random.Random"),
        (Own(lr=0.1), ".*Own"),
    ],
    ids=["network", "object", "subclass"],
)
def test_anything_else_is_refused_by_its_name(tmp_path, content, thing, name):
    (tmp_path / "file").write_bytes(saved(content | {"thing": thing}))
    with pytest.raises(UserError, match=f"holds a {name}, which could run code"):
        checkpoint.read(tmp_path / "file")


def test_safetensors_are_read_to_the_bit(tmp_path):
    state = {
        "conv.weight": torch.randn(4, 3, 3, 3), "bn.num_batches_tracked": torch.tensor(7), "none": torch.empty(0, 5),
        "half": torch.randn(3).bfloat16(),
    }  # fmt: skip
    (tmp_path / "file").write_bytes(safetensors(state))
    found = checkpoint.read(tmp_path / "file")
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
    assert all(found[key].dtype == state[key].dtype for key in state)


@pytest.mark.parametrize("dtype", RARE)
def test_safetensors_of_every_type_are_read(tmp_path, dtype):
    state = {"weight": torch.tensor([[0.0, 1.0], [2.0, 3.0]]).to(dtype)}
    (tmp_path / "file").write_bytes(safetensors(state))
    found = checkpoint.read(tmp_path / "file")["weight"]
    assert found.dtype == dtype and found.to(torch.complex64).tolist() == [[0, 1], [2, 3]]
    layer = torch.nn.Linear(2, 2, bias=False)
    if dtype.is_floating_point:
        weights.load(layer, tmp_path / "file", "Linear")
        assert layer.weight.tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("name", ["F8_E8M0", "F4"])
def test_safetensors_of_packed_numbers_are_no_damage(tmp_path, name):
    (tmp_path / "file").write_bytes(safetensors({"weight": torch.ones(2)}, dtype=name))
    with pytest.raises(UserError, match=f"file: 'weight' is of the type {name}, which is not read"):
        checkpoint.read(tmp_path / "file")


@pytest.mark.parametrize(
    "changed",
    [
        {"dtype": "F99"}, {"shape": [3]}, {"shape": [-2, -1]}, {"shape": "two"}, {"data_offsets": [0, 4]},
        {"data_offsets": [4, 12]}, {"data_offsets": None},
    ],
)  # fmt: skip
def test_a_safetensors_header_that_lies_is_told(tmp_path, changed):
    (tmp_path / "file").write_bytes(safetensors({"weight": torch.ones(2)}, **changed))
    with pytest.raises(UserError, match="damaged, or not a checkpoint"):
        checkpoint.read(tmp_path / "file")
