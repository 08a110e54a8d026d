"""How large a picture may be. Apart from what decodes it: settings say it, and not all who read them have Pillow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureLimits:
    """What is refused before anything is decoded."""

    max_bytes: int = 8 << 20
    # A telephone's photograph has 12 million; decoded, four bytes each.
    max_pixels: int = 25_000_000
