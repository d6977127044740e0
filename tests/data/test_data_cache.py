"""Caches that were torn, damaged or left behind: told, and decoded again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mdistiller_icc.data import cache, cifar100

ROOT = Path(__file__).parents[2]
BUILD = (
    "import sys; from pathlib import Path; from mdistiller_icc.data import cifar100; cifar100.read(Path(sys.argv[1]))"
)


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def tree(tmp_path, paint):
    for split in ("train", "test"):
        for number, name in enumerate(("apple", "bear", "zebra")):
            paint(tmp_path / split / name / "0.png", 10 + number)
    return tmp_path


def damages(whole: bytes, count: int):
    """Bytes that differ from ``whole``: torn, longer, with bits flipped, blocks zeroed or other bytes in the header."""
    numbers = np.random.default_rng(count)
    header = whole.index(b"\n") + 1
    for number in range(count):
        content = bytearray(whole)
        kind = ("torn", "bit", "header bit", "header byte", "block", "longer", "trailer")[number % 7]
        if kind == "torn":
            del content[int(numbers.integers(len(whole))) :]
        elif kind == "longer":
            content += numbers.bytes(int(numbers.integers(1, 100)))
        elif kind == "block":
            start = int(numbers.integers(len(whole) - 512))
            content[start : start + 512] = bytes(512)
        else:
            end = len(whole) if kind == "bit" else header
            place = int(numbers.integers(end)) if kind != "trailer" else int(numbers.integers(-4, 0))
            content[place] ^= 1 << int(numbers.integers(8)) if kind != "header byte" else int(numbers.integers(1, 256))
        if content != whole:
            yield kind, bytes(content)


def rebuilt(tree: Path, count: int, capsys) -> dict[str, int]:
    """How many damaged caches of each kind were told and decoded again, to the bit."""
    images = np.array(cifar100.read(tree).train.images)
    (file,) = (tree / ".cache").glob("train-*")
    whole = file.read_bytes()
    capsys.readouterr()
    tried: dict[str, int] = {}
    for kind, content in damages(whole, count):
        file.unlink()
        file.write_bytes(content)
        assert np.array_equal(cifar100.read(tree).train.images, images), kind
        said = capsys.readouterr().err.splitlines()
        assert said[0] == f"{file}: damaged, so the images are decoded again", kind
        assert said[1].startswith("decoding 3 images") and len(said) == 2
        assert file.read_bytes() == whole
        tried[kind] = tried.get(kind, 0) + 1
    return tried


def test_a_damaged_cache_is_told_and_decoded_again(tree, capsys):
    tried = rebuilt(tree, 70, capsys)
    print(f"{sum(tried.values())} damaged caches tried: {tried}; all told and rebuilt")
    assert len(tried) == 7


@pytest.mark.slow
def test_every_byte_of_the_header_and_thousands_of_bits(tree, capsys):
    tried = rebuilt(tree, 7000, capsys)
    print(f"{sum(tried.values())} damaged caches tried: {tried}; all told and rebuilt")
    assert sum(tried.values()) > 6500


def test_a_cache_that_is_not_there_is_no_damage(tree, capsys):
    cifar100.read(tree)
    assert "damaged" not in capsys.readouterr().err


def test_what_a_dead_process_was_writing_is_cleared_and_a_living_ones_is_not(tree):
    folder = tree / ".cache"
    folder.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    left = {
        "dead": folder / f"train-0.images.{dead.pid}.{host}",
        "alive": folder / f"train-0.images.{os.getppid()}.{host}",
        "elsewhere": folder / f"train-0.images.{dead.pid}.another{host}",
        "long ago": folder / f"train-1.images.{dead.pid}.another{host}",
        "of 0.1.0": folder / f"train-1.images.{dead.pid}",
        "not ours": folder / "notes.txt",
    }
    for file in left.values():
        file.write_bytes(b"half of it")
    for name in ("long ago", "of 0.1.0"):
        os.utime(left[name], (time.time() - cache.ABANDONED - 60,) * 2)
    cifar100.read(tree)
    assert [name for name, file in left.items() if file.exists()] == ["alive", "elsewhere", "not ours"]


def killed(tree: Path, wait) -> bool:
    """Begin to build the caches in a process and kill it when ``wait`` has returned; whether it was at it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", BUILD, str(tree)], env=environment, stderr=subprocess.DEVNULL) as one:
        wait(one)
        one.send_signal(signal.SIGKILL)
        return one.wait() == -signal.SIGKILL


def until_it_writes(folder: Path, seconds: float = 0.0):
    def wait(process) -> None:
        while process.poll() is None and not list(folder.glob("*.images.*")):
            time.sleep(0.001)
        time.sleep(seconds)

    return wait


@pytest.fixture
def large(tree, paint):
    for number in range(3000):
        paint(tree / "train" / "bear" / f"{number}.png", number % 256)
    return tree


def test_a_kill_while_it_is_written_leaves_nothing_for_good(large):
    folder = large / ".cache"
    assert killed(large, until_it_writes(folder))
    assert list(folder.glob("train-*.images.*")), "it was killed too early"
    images = cifar100.read(large).train.images
    assert len(images) == 3002 and images[1, 0, 0, 0] == 0
    assert sorted(file.name[:5] for file in folder.iterdir()) == ["test-", "train"]


@pytest.mark.slow
def test_kills_at_any_moment_leave_nothing_for_good(large):
    numbers = np.random.default_rng(0)
    folder = large / ".cache"
    at_it = left = 0
    for _ in range(30):
        for file in folder.glob("*.images"):
            file.unlink()
        at_it += killed(large, until_it_writes(folder, numbers.uniform(0, 0.5)))
        left += bool(list(folder.glob("*.images.*")))
        assert len(cifar100.read(large).train) == 3002
        assert sorted(file.name[:5] for file in folder.iterdir()) == ["test-", "train"]
    print(f"30 kills: {at_it} came in time, {left} left a file that the next run cleared")
