"""Image files from outside: decoded within limits, then scaled and normalised for an image encoder.

Training and serving use this same code. Serving calls `decode` in processes of its own: see adapters/image_processes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from services.common.errors import InvalidArgument
from services.common.limits import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE
from services.query_encoder.domain.image_files import BadStructureError, essential

# Characters of a decoder's own message that are passed on.
_MAX_DETAIL = 120
_WHITE = (255, 255, 255)


@dataclass(frozen=True)
class ImageLimits:
    """Larger files, and images with more pixels in all or on a side, are refused before anything is decoded."""

    max_bytes: int = MAX_IMAGE_BYTES
    max_pixels: int = MAX_IMAGE_PIXELS
    max_side: int = MAX_IMAGE_SIDE


@dataclass(frozen=True)
class Preprocessing:
    """From an image to the model's input, as a Hugging Face `preprocessor_config.json` describes it.

    With `shortest_edge` the image keeps its proportions and its middle is cut out. With 0 the whole image is scaled to
    `height` by `width`.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    shortest_edge: int = 0
    resample: Image.Resampling = Image.Resampling.BICUBIC

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Raises ValueError if `size` and `crop_size` give no height and width."""
        size, crop = config.get("size", {}), config.get("crop_size", {})
        size = {"shortest_edge": size} if isinstance(size, int) else size
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        shortest = int(size.get("shortest_edge", 0))
        box = size if not shortest else crop or {"height": shortest, "width": shortest}
        if "height" not in box or "width" not in box:
            raise ValueError(f"preprocessor_config.json: size {size} and crop_size {crop} give no height and width")
        means, deviations = config["image_mean"], config["image_std"]
        return cls(
            height=int(box["height"]),
            width=int(box["width"]),
            mean=(float(means[0]), float(means[1]), float(means[2])),
            std=(float(deviations[0]), float(deviations[1]), float(deviations[2])),
            shortest_edge=shortest,
            resample=Image.Resampling(config.get("resample", Image.Resampling.BICUBIC)),
        )

    @property
    def side(self) -> int:
        """Side length of the smallest square that contains the model's input, in pixels."""
        return max(self.height, self.width, self.shortest_edge)

    def scaled(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Shape [height, width, 3]."""
        if self.shortest_edge:
            wide, high = image.size
            scale = self.shortest_edge / min(wide, high)
            # Only the part that the crop keeps is scaled: an image of 1 by 10,000 pixels would become huge.
            cut = (min(wide, self.width / scale), min(high, self.height / scale))
            left, top = (wide - cut[0]) / 2, (high - cut[1]) / 2
            box = (left, top, left + cut[0], top + cut[1])
            return np.asarray(image.resize((self.width, self.height), self.resample, box=box))
        return np.asarray(image.resize((self.width, self.height), self.resample))

    def tensor(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Shape [..., height, width, 3] -> [..., 3, height, width], minus mean, divided by standard deviation."""
        scaled = pixels.astype(np.float32) / np.float32(255)
        normal = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(np.moveaxis(normal, -1, -3))


def decode(data: bytes, field: str, limits: ImageLimits, side: int = 0) -> Image.Image:
    """The image in RGB, upright, with white behind transparent parts. Of an animation, the first frame.

    `side`: a large JPEG may be decoded smaller, but both sides keep at least this many pixels; 0: in full size. Raises
    InvalidArgument that names `field`.
    """
    if not data:
        raise InvalidArgument.of(field, "is empty; send a JPEG, PNG or WebP file")
    if len(data) > limits.max_bytes:
        raise InvalidArgument.of(field, f"has {len(data)} bytes; at most {limits.max_bytes}")
    kind = kind_of(data)
    if kind is None:
        raise InvalidArgument.of(field, "is not a JPEG, PNG or WebP file; the content decides, not the file name")
    try:
        file = essential(data, kind)
    except BadStructureError as error:
        raise InvalidArgument.of(field, str(error)) from None
    # The decoder's first act may be to allocate all pixels: the size is checked before.
    _check_size(file.width, file.height, field, limits)
    try:
        with Image.open(io.BytesIO(file.data), formats=(kind,)) as image:
            if image.size != (file.width, file.height):
                raise InvalidArgument.of(field, f"is a damaged {kind} file: it states two sizes")
            if side and kind == "JPEG":
                image.draft("RGB", (2 * side, 2 * side))
            # In place: a copy of the largest images takes 100 MB.
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
    except InvalidArgument:
        raise
    except MemoryError:
        raise InvalidArgument.of(field, "takes too much memory to decode; send a smaller image") from None
    except Exception as error:
        # A malicious file can raise any exception in the decoder. All of them mean a bad file, not a defect of ours.
        raise InvalidArgument.of(field, f"is a damaged {kind} file: {str(error)[:_MAX_DETAIL]}") from None


def kind_of(data: bytes) -> str | None:
    """JPEG, PNG or WEBP by the first bytes; None for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _check_size(width: int, height: int, field: str, limits: ImageLimits) -> None:
    if not width or not height:
        raise InvalidArgument.of(field, f"is damaged: it states {width} by {height} pixels; send another file")
    if max(width, height) > limits.max_side:
        raise InvalidArgument.of(
            field, f"has {width} by {height} pixels; at most {limits.max_side} on each side; send a smaller image"
        )
    if width * height > limits.max_pixels:
        raise InvalidArgument.of(
            field, f"has {width} by {height} pixels; at most {limits.max_pixels} in all; send a smaller image"
        )


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits a pixel: Pillow would set everything above 255 to white.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGB", layer.size, _WHITE)
        ground.paste(layer, mask=layer)
        return ground
    return image.convert("RGB")
