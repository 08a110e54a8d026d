"""Image files from outside: what is decoded, and what is refused by an error that names the field."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from services.common.errors import InvalidArgument
from services.query_encoder.domain.image import ImageLimits, Preprocessing, decode
from services.query_encoder.domain.image_files import essential
from tests.unit.query_encoder.image_files import IGNORED, REFUSED, encoded, png

LIMITS = ImageLimits(max_bytes=200_000, max_pixels=100_000)
KINDS = ("JPEG", "PNG", "WEBP")


def problem(data: bytes, limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(InvalidArgument) as caught:
        decode(data, "image", limits)
    (violation,) = caught.value.violations
    assert violation.field == "image"
    return violation.description


def outcome_of(data: bytes) -> Image.Image | InvalidArgument:
    try:
        return decode(data, "image", LIMITS)
    except InvalidArgument as refused:
        return refused


def webp_claim(width: int, height: int) -> bytes:
    """A WebP whose canvas is this large, by its header."""
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + struct.pack("<I", width - 1)[:3]
        + struct.pack("<I", height - 1)[:3]
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    """JPEG, PNG and WebP are decoded to RGB in their own size."""
    image = decode(encoded(kind), "image", LIMITS)
    assert (image.mode, image.size) == ("RGB", (60, 40))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_kinds(kind: str) -> None:
    """Other formats that Pillow reads are refused by their content."""
    assert "not a JPEG, PNG or WebP" in problem(encoded(kind))


@pytest.mark.parametrize("data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe", b"\x00" * 100])
def test_not_an_image(data: bytes) -> None:
    """Data that is not an image is refused."""
    assert "not a JPEG, PNG or WebP" in problem(data)


def test_empty() -> None:
    """An empty file is refused."""
    assert "is empty" in problem(b"")


def test_too_many_bytes() -> None:
    """A file with too many bytes is refused before anything is decoded."""
    assert "at most 200000" in problem(encoded("PNG") + bytes(200_000))


@pytest.mark.parametrize(
    "data",
    [png(5_000, 5_000), encoded("JPEG", Image.new("L", (2_000, 900))),
     encoded("WEBP", Image.new("L", (2_000, 900))), encoded("WEBP", Image.new("L", (2_000, 900)), lossless=True),
     webp_claim(16_384, 16_384)],
    ids=["png", "jpeg", "webp", "lossless webp", "webp canvas"],
)  # fmt: skip
def test_too_many_pixels(data: bytes) -> None:
    """A small file that decodes to many pixels is refused by its header."""
    assert "pixels" in problem(data)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated(kind: str) -> None:
    """A truncated file is refused as damaged, wherever it ends."""
    data = encoded(kind)
    for length in range(12, len(data) - 12, max(1, len(data) // 40)):
        assert "damaged" in problem(data[:length])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6))
def test_hostile(kind: str, changes: list[tuple[float, bytes]]) -> None:
    """A changed file is either decoded within the limits, or refused by an error that names the field."""
    data = bytearray(encoded(kind))
    for place, patch in changes:
        start = 12 + int(place * (len(data) - 16))
        data[start : start + len(patch)] = patch
    outcome = outcome_of(bytes(data))
    if isinstance(outcome, Image.Image):
        assert outcome.mode == "RGB"
        assert outcome.width * outcome.height <= LIMITS.max_pixels
    else:
        assert outcome.violations[0].field == "image"


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBPVP8X", b""]),
    rest=st.binary(),
)
def test_noise(start: bytes, rest: bytes) -> None:
    """Random bytes after the first bytes of an image are refused without a crash."""
    assert problem(start + rest)


@pytest.mark.parametrize("name", REFUSED)
def test_too_costly(name: str) -> None:
    """A file that would cost much is refused by its structure, before it is decoded: too many scans, segments or
    chunks, a side too long, or two headers.
    """
    make, word = REFUSED[name]
    assert word in problem(make(), ImageLimits())


@pytest.mark.parametrize("name", IGNORED)
def test_not_for_the_decoder(name: str) -> None:
    """Texts, colour profiles, large EXIF data, second frames and second images are not read, whatever their size."""
    assert decode(IGNORED[name](), "image", ImageLimits()).size == (60, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_essential_is_decoded(kind: str) -> None:
    """A file without metadata is decoded as it is."""
    data = encoded(kind)
    assert essential(data, kind).data == data


@pytest.mark.parametrize("kind", KINDS)
def test_upright(kind: str) -> None:
    """A photograph that was taken sideways is decoded upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(kind, exif=exif), "image", LIMITS).size == (40, 60)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_is_white(mode: str) -> None:
    """Transparent parts become white, as a shop shows them."""
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 0)).convert(mode)
    options = {"transparency": image.getpixel((0, 0))} if mode == "P" else {}
    assert decode(encoded("PNG", image, **options), "image", LIMITS).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits() -> None:
    """An image with 16 bits a pixel keeps its shades."""
    image = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    assert decode(encoded("PNG", image), "image", LIMITS).getpixel((0, 0)) == (128, 128, 128)


def test_large_jpeg_is_decoded_small() -> None:
    """A large JPEG is decoded smaller, but not smaller than the model needs."""
    image = decode(encoded("JPEG", Image.new("RGB", (320, 240))), "image", LIMITS, side=30)
    assert 60 <= min(image.size) < 240


def test_scaled_to_a_box() -> None:
    """With height and width the whole image is scaled, and normalised by mean and deviation."""
    made = Preprocessing.of({"size": {"height": 8, "width": 6}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    tensor = made.tensor(made.scaled(Image.new("RGB", (30, 90), (255, 0, 0))))
    assert tensor.shape == (3, 8, 6)
    np.testing.assert_allclose(tensor[:, 0, 0], [2, -2, -2])


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (50, 50), (1, 1)])
def test_scaled_by_the_shortest_edge(size: tuple[int, int]) -> None:
    """With the shortest edge, as CLIP does it, the middle is cut out; an image of any shape gets the model's size."""
    made = Preprocessing.of(
        {
            "size": {"shortest_edge": 10},
            "crop_size": {"height": 8, "width": 8},
            "image_mean": [0.0] * 3,
            "image_std": [1.0] * 3,
        }
    )
    assert made.scaled(Image.new("RGB", size)).shape == (8, 8, 3)


def test_missing_size() -> None:
    """A configuration without a size is refused."""
    with pytest.raises(ValueError, match="size"):
        Preprocessing.of({"image_mean": [0.0] * 3, "image_std": [1.0] * 3})
