"""Image files for tests: valid ones, and hostile ones that are small and cost a decoder much."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable

from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"


def encoded(kind: str, image: Image.Image | None = None, **how: object) -> bytes:
    file = io.BytesIO()
    (image or Image.radial_gradient("L").convert("RGB").resize((60, 40))).save(file, kind, **how)
    return file.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *before: bytes) -> bytes:
    """A black PNG in shades of grey, with these chunks before its pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = zlib.compress(bytes((width + 1) * height), 9)
    return PNG_START + header + b"".join(before) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def with_segments(segments: bytes) -> bytes:
    """A JPEG with these segments in front."""
    return b"\xff\xd8" + segments + encoded("JPEG")[2:]


def jpeg_of_scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are `count`."""
    data = encoded("JPEG", Image.new("L", (side, side), 128), progressive=True)
    starts = [found.start() for found in re.finditer(rb"\xff\xda", data)]
    last = data[starts[-1] : -2]
    return data[:-2] + last * (count - len(starts)) + b"\xff\xd9"


def riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def with_chunks(chunks: bytes, webp: bytes | None = None) -> bytes:
    """A WebP in the extended form, with these chunks in front of its pixels."""
    data = webp or encoded("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    body = data[8:30] + chunks + data[30:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_of_frames(count: int) -> bytes:
    """An animation whose last frame is repeated until there are `count`."""
    data = encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (60, 40), "red")])
    last = data[data.rindex(b"ANMF") :]
    body = data[8:] + last * (count - 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def apng(count: int) -> bytes:
    frames = [Image.new("L", (60, 40), shade) for shade in range(count)]
    return encoded("PNG", frames[0], save_all=True, append_images=frames[1:])


_TEXT = png_chunk(b"tEXt", b"k\0v")
# By name: how to make the file, and a word of the refusal.
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "jpeg scans": (lambda: jpeg_of_scans(side=2_000, count=8_000), "scans"),
    "jpeg scans of a large image": (lambda: jpeg_of_scans(side=5_000, count=30), "30 scans"),
    "jpeg comments": (lambda: with_segments(b"\xff\xfe\0\x03x" * 100_000), "segments"),
    "jpeg tables": (lambda: with_segments(encoded("JPEG")[20:89] * 20_000), "segments"),
    "jpeg with two headers": (
        lambda: with_segments(b"\xff\xc0\0\x0b\x08\x00\x08\x00\x08\x01\x01\x11\0"),
        "two headers",
    ),
    "jpeg side": (lambda: encoded("JPEG", Image.new("L", (17_000, 1))), "on each side"),
    "png height": (lambda: png(1, 25_000_000), "on each side"),
    "png width": (lambda: png(25_000_000, 1), "on each side"),
    "png texts": (lambda: png(8, 8, _TEXT * 400_000), "chunks"),
    "png data in many chunks": (lambda: png(8, 8, png_chunk(b"IDAT", b"") * 400_000), "chunks"),
    "png with two headers": (lambda: png(8, 8, png(9_000, 9)[8:33]), "one header"),
    "webp chunks": (lambda: with_chunks(riff_chunk(b"junk", b"x") * 400_000), "chunks"),
    "webp frames": (lambda: webp_of_frames(20_000), "chunks"),
}
# What the decoder never sees: the image is decoded as if it were not there.
IGNORED: dict[str, Callable[[], bytes]] = {
    "png text bomb": lambda: png(60, 40, png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(60 << 20), 9))),
    "png colour profile bomb": lambda: png(60, 40, png_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(60 << 20), 9))),
    "png exif": lambda: png(60, 40, png_chunk(b"eXIf", b"MM\0*" + bytes(1 << 20))),
    "png animation": lambda: apng(200),
    "jpeg exif in many segments": lambda: with_segments((b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)) * 100),
    "jpeg colour profile": lambda: encoded("JPEG", icc_profile=bytes(1 << 20)),
    "jpeg of two images": lambda: encoded("JPEG") + encoded("JPEG", Image.new("L", (5_000, 5_000))),
    "webp animation": lambda: webp_of_frames(300),
    "webp colour profile and exif": lambda: encoded("WEBP", icc_profile=bytes(1 << 20), exif=bytes(1 << 20)),
}
