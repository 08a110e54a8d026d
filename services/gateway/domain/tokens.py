"""Opaque tokens: the page that comes next, and the ranking that an event belongs to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import asdict, dataclass

from services.common.errors import InvalidArgument


@dataclass(frozen=True)
class PageToken:
    """Where the next page begins, in which ranking, of which request."""

    offset: int
    ranking_id: str
    fingerprint: str

    def encode(self) -> str:
        return _encode(asdict(self))

    @classmethod
    def decode(cls, token: str, fingerprint: str) -> PageToken:
        """Raises InvalidArgument for a token that is damaged or belongs to another request."""
        try:
            page = cls(**_decode(token))  # type: ignore[arg-type]
            if not isinstance(page.offset, int) or page.offset < 0 or not isinstance(page.ranking_id, str):
                raise ValueError
        except (ValueError, TypeError, binascii.Error):
            raise InvalidArgument.of("page_token", "is damaged; send next_page_token as it came") from None
        if page.fingerprint != fingerprint:
            raise InvalidArgument.of("page_token", "belongs to another request; change nothing but the token")
        return page


@dataclass(frozen=True)
class AttributionToken:
    ranking_id: str
    model_version: str

    def encode(self) -> str:
        return _encode(asdict(self))


def fingerprint(*parts: bytes | str) -> str:
    """Of everything that makes a request the same request."""
    digest = hashlib.blake2b(digest_size=9)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(len(data).to_bytes(4, "little") + data)
    return base64.urlsafe_b64encode(digest.digest()).decode()


def _encode(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(token: str) -> dict[str, object]:
    value = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value
