"""Images are decoded in processes that end at a limit of time or memory, and are replaced."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from services.common.errors import InvalidArgument
from services.query_encoder.adapters.image_processes import ImageProcesses
from services.query_encoder.domain.image import ImageLimits, Preprocessing, decode
from tests.unit.query_encoder.image_files import IGNORED, REFUSED, encoded, png

PREPROCESSING = Preprocessing(24, 16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
LIMITS = ImageLimits(max_pixels=80_000_000)
LIMIT_S = 20.0
KINDS = ("JPEG", "PNG", "WEBP")


@pytest.fixture(scope="module")
def processes() -> Iterator[ImageProcesses]:
    started = ImageProcesses(PREPROCESSING, LIMITS, LIMIT_S)
    yield started
    started.close()


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if any("image_worker" in part for part in child.cmdline())]


def problem(processes: ImageProcesses, data: bytes, limit_s: float = LIMIT_S) -> str:
    with pytest.raises(InvalidArgument) as caught:
        processes.read(data, "image", limit_s)
    (violation,) = caught.value.violations
    assert violation.field == "image"
    return violation.description


@pytest.mark.parametrize("kind", KINDS)
def test_pixels(processes: ImageProcesses, kind: str) -> None:
    """A process returns the pixels that `decode` and the preprocessing make."""
    data = encoded(kind)
    expected = PREPROCESSING.scaled(decode(data, "image", LIMITS, PREPROCESSING.side))
    np.testing.assert_array_equal(processes.read(data, "image", LIMIT_S), expected)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(processes: ImageProcesses, name: str) -> None:
    """What `decode` refuses, a process refuses in the same words."""
    make, word = REFUSED[name]
    assert word in problem(processes, make())


def test_time(processes: ImageProcesses) -> None:
    """An image that takes too long is refused, and the next one is decoded."""
    assert "takes more than" in problem(processes, png(8_000, 8_000), limit_s=0.01)
    assert processes.read(encoded("PNG"), "image", LIMIT_S).shape == (24, 16, 3)


def test_memory(processes: ImageProcesses) -> None:
    """The kernel limits the memory of a process by the pixels that an image may have, and its CPU time."""
    processes.read(encoded("PNG"), "image", LIMIT_S)
    for child in workers():
        assert 0 < child.rlimit(psutil.RLIMIT_AS)[0] < 24 * LIMITS.max_pixels + (512 << 20)
        assert 0 < child.rlimit(psutil.RLIMIT_CPU)[0] < 100 * LIMIT_S
    assert workers()


def test_ended_from_outside(processes: ImageProcesses) -> None:
    """A process that was ended, as the kernel does when memory is short, is replaced."""
    processes.read(encoded("PNG"), "image", LIMIT_S)
    ended = workers()
    for child in ended:
        child.kill()
        child.wait()
    assert ended
    assert processes.read(encoded("PNG"), "image", LIMIT_S).shape == (24, 16, 3)


def test_several_at_once(processes: ImageProcesses) -> None:
    """Threads get their own images back."""
    colours = [(shade, 0, 255 - shade) for shade in range(0, 250, 10)]
    files = [encoded("PNG", Image.new("RGB", (9, 9), colour)) for colour in colours]
    with ThreadPoolExecutor(3) as threads:
        pixels = list(threads.map(lambda data: processes.read(data, "image", LIMIT_S), files))
    assert [tuple(image[0, 0]) for image in pixels] == colours


def test_close() -> None:
    """`close` ends the processes."""
    before = set(psutil.Process().children())
    started = ImageProcesses(PREPROCESSING, LIMITS, LIMIT_S)
    started.read(encoded("PNG"), "image", LIMIT_S)
    started.close()
    assert set(psutil.Process().children()) <= before


BASES = [encoded(kind) for kind in KINDS] + [encoded("JPEG", progressive=True), IGNORED["webp animation"](), png(9, 9)]


@settings(max_examples=150, derandomize=True)
@example(base=0, changes=[(0.0, b"\xff\xff\xff\xff", False)])
@given(
    base=st.integers(0, len(BASES) - 1),
    changes=st.lists(
        st.tuples(st.floats(0, 1), st.binary(max_size=8), st.booleans()), min_size=1, max_size=6
    ),
)  # fmt: skip
def test_mutated(processes: ImageProcesses, base: int, changes: list[tuple[float, bytes, bool]]) -> None:
    """A file with bytes overwritten, inserted, removed or repeated is an image or is refused; no process is late."""
    data = bytearray(BASES[base])
    for place, patch, overwrites in changes:
        start = int(place * len(data))
        data[start : start + len(patch) * overwrites] = patch or data[start : start + 40]
    try:
        shape, reason = processes.read(bytes(data), "image", LIMIT_S).shape, ""
    except InvalidArgument as refused:
        shape, reason = (24, 16, 3), str(refused)
    assert shape == (24, 16, 3)
    assert "takes" not in reason
    assert "ended" not in reason
