"""The structure of JPEG, PNG and WebP files, read without decoding.

A file is refused by its structure if decoding it would cost too much, and the decoder gets only the parts that it needs
for the pixels and for the orientation: no text, colour profile, thumbnail or second frame. The walk over a file takes a
time proportional to its bytes, and looks at no more than MAX_PARTS parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Segments of a JPEG or chunks of a PNG or WebP. PNG writers make chunks of 8 KiB or more: 1,024 in 8 MiB.
MAX_PARTS = 10_000
# Scans of a progressive JPEG: each one is a pass over all pixels. Encoders write about ten.
MAX_SCANS = 32
# Pixels times scans, of a JPEG of several scans: ten for the largest image. A pass over 25 million pixels takes 25 ms.
MAX_SCANNED_PIXELS = 250_000_000
# Bytes of EXIF data, which hold the orientation. A JPEG cannot hold more in a segment. Larger data is not read.
_MAX_EXIF = 65_536

_PNG_START = b"\x89PNG\r\n\x1a\n"
# A marker within or after the data of a scan: neither a filled byte nor a restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SOI, _EOI, _SOS, _DHT, _JPG, _DAC = 0xD8, 0xD9, 0xDA, 0xC4, 0xC8, 0xCC
_APP0, _APP1, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, _JPG, _DAC}
_PNG_PARTS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_WEBP_PARTS = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM"))


class BadStructureError(Exception):
    """The message completes "the image ...", with the remedy."""


@dataclass(frozen=True)
class EssentialFile:
    """The parts of a file that its decoder needs, and the size of the image in pixels as the file states it."""

    data: bytes
    width: int
    height: int


def essential(data: bytes, kind: str) -> EssentialFile:
    """`kind`: JPEG, PNG or WEBP. Raises BadStructureError. A file that ends too early is left to its decoder."""
    return {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}[kind](data)


def _jpeg(data: bytes) -> EssentialFile:
    kept, size, scans, has_exif = [data[:2]], None, 0, False
    for marker, start, end, stop in _jpeg_segments(data):
        if marker in _FRAMES:
            if size:
                raise BadStructureError("is a damaged JPEG file: it has two headers")
            size = int.from_bytes(data[start + 7 : start + 9]), int.from_bytes(data[start + 5 : start + 7])
        elif marker == _SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise BadStructureError(f"is a JPEG of more than {MAX_SCANS} scans; save it again as a baseline JPEG")
        is_exif = marker == _APP1 and not has_exif and data[start + 4 : start + 10] == b"Exif\0\0"
        has_exif = has_exif or is_exif
        is_metadata = (_APP0 < marker <= _APP15 and marker != _APP14) or marker == _COM
        if is_exif or not is_metadata:
            kept.append(data[start : stop if marker == _SOS else end])
    if size is None:
        raise BadStructureError("is a damaged JPEG file: it has no header")
    if scans * size[0] * size[1] > MAX_SCANNED_PIXELS:
        raise BadStructureError(
            f"is a JPEG of {scans} scans and {size[0]} by {size[1]} pixels; save it again smaller or as a baseline JPEG"
        )
    return EssentialFile(b"".join(kept), *size)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(marker, start, end, start of the next one). Ends behind the end of the image, or where the file ends."""
    found = _MARKER.search(data, 2)
    for _ in range(MAX_PARTS):
        if found is None:
            return
        start, marker = found.start(), data[found.start() + 1]
        # Markers without a length: start and end of the image, and one that arithmetic coding uses.
        length = 0 if marker in (_SOI, _EOI, 1) else max(2, int.from_bytes(data[start + 2 : start + 4]))
        end = start + 2 + length
        found = None if marker == _EOI else _MARKER.search(data, end)
        yield marker, start, end, found.start() if found else len(data)
    if found:
        raise BadStructureError(f"is a JPEG of more than {MAX_PARTS} segments; save it again without metadata")


def _png(data: bytes) -> EssentialFile:
    kept, size = [_PNG_START], None
    for name, start, end in _chunks(data, len(_PNG_START), "PNG"):
        body = start + 8
        if (name == b"IHDR") is not (size is None):
            raise BadStructureError("is a damaged PNG file: it does not have one header, in front")
        if name == b"IHDR":
            size = int.from_bytes(data[body : body + 4]), int.from_bytes(data[body + 4 : body + 8])
        if name in _PNG_PARTS or (name == b"eXIf" and end - start <= _MAX_EXIF):
            kept.append(data[start:end])
        if name == b"IEND":
            break
    if size is None:
        raise BadStructureError("is a damaged PNG file: it has no header")
    return EssentialFile(b"".join(kept), *size)


def _webp(data: bytes) -> EssentialFile:
    kept: list[bytes] = []
    size, frames = None, 0
    for name, start, end in _chunks(data, 12, "WebP"):
        size = size or _webp_size(name, data[start + 8 : start + 18])
        frames += name == b"ANMF"
        if (
            name in _WEBP_PARTS
            or (name == b"ANMF" and frames == 1)
            or (name == b"EXIF" and end - start <= _MAX_EXIF)
        ):  # fmt: skip
            kept.append(data[start:end])
    if size is None:
        raise BadStructureError("is a damaged WebP file: it has no header")
    body = b"WEBP" + b"".join(kept)
    return EssentialFile(b"RIFF" + len(body).to_bytes(4, "little") + body, *size)


def _webp_size(name: bytes, body: bytes) -> tuple[int, int] | None:
    """(width, height) by the first 10 bytes of a chunk; None if it does not state them."""
    if len(body) < 10:
        return None
    if name == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if name == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


def _chunks(data: bytes, start: int, kind: str) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk; the last one may be cut off by the end of the file."""
    for _ in range(MAX_PARTS):
        head = data[start : start + 8]
        if len(head) < 8:
            return
        if kind == "PNG":
            name, end = head[4:], start + 12 + int.from_bytes(head[:4])
        else:
            name, length = head[:4], int.from_bytes(head[4:], "little")
            end = start + 8 + length + length % 2
        yield name, start, min(end, len(data))
        start = end
    if start < len(data):
        raise BadStructureError(f"is a {kind} of more than {MAX_PARTS} chunks; save it again without metadata")
