"""Calls of the image encoder, with words for those who cannot change its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import Conflict


class NoImageEncoder(Conflict):
    """The shop has no image encoder. The stage's own message is for who operates it."""

    reason = "NO_IMAGE_ENCODER"


@contextmanager
def image_encoder_required() -> Iterator[None]:
    """Of all calls with pictures: the encoder refuses them for one reason only."""
    try:
        yield
    except Conflict:
        raise NoImageEncoder("search by picture is not set up here; send the request without pictures") from None
