"""Opaque tokens: the page that comes next, and the ranking that an event belongs to.

A token carries a seal (keyed BLAKE2b), so that one that was changed on its way is refused instead of half believed.
Without a key the seal still finds every damage; only whoever knows this file could make one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

from services.common.errors import InvalidArgument

# No token of ours comes near it.
_MAX_LENGTH = 1_024
_SEAL_BYTES = 9


@dataclass(frozen=True)
class PageToken:
    """Where the next page begins, in which ranking, of which request."""

    offset: int
    ranking_id: str
    fingerprint: str

    def encode(self, key: str) -> str:
        return _encode(asdict(self), key)

    @classmethod
    def decode(cls, token: str, fingerprint: str, key: str) -> PageToken:
        """Raises InvalidArgument for a token that is not ours, is damaged or belongs to another request."""
        try:
            page = cls(**_decode(token, key))  # type: ignore[arg-type]
            if not isinstance(page.offset, int) or page.offset < 0 or not isinstance(page.ranking_id, str):
                raise ValueError("not of our making")
        except (ValueError, TypeError):
            raise InvalidArgument.of("page_token", "is damaged; send next_page_token as it came") from None
        if page.fingerprint != fingerprint:
            raise InvalidArgument.of("page_token", "belongs to another request; change nothing but the token")
        return page


@dataclass(frozen=True)
class AttributionToken:
    ranking_id: str
    model_version: str

    def encode(self, key: str) -> str:
        return _encode(asdict(self), key)

    @classmethod
    def decode(cls, token: str, key: str) -> AttributionToken | None:
        """None for a token that is not ours or is damaged."""
        try:
            return cls(**_decode(token, key))  # type: ignore[arg-type]
        except (ValueError, TypeError):
            return None


def ranking_of(token: str) -> str:
    """The ranking id inside an attribution token of the log; empty where there is none.

    Its seal is not looked at: RecordEvents took no other, and whoever reads the log need not have the key.
    """
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        return str(json.loads(data[_SEAL_BYTES:])["ranking_id"])
    except (ValueError, TypeError, KeyError):
        return ""


def fingerprint(*parts: bytes | str) -> str:
    """Of everything that makes a request the same request."""
    digest = hashlib.blake2b(digest_size=9)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(len(data).to_bytes(4, "little") + data)
    return base64.urlsafe_b64encode(digest.digest()).decode()


def _encode(value: dict[str, object], key: str) -> str:
    body = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_seal(body, key) + body).decode().rstrip("=")


def _decode(token: str, key: str) -> dict[str, object]:
    """Raises ValueError for anything but the very text that `_encode` gave."""
    if len(token) > _MAX_LENGTH:
        raise ValueError("too long")
    data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    # Base64 skips strange characters and the last bits: one text for each token, no second one beside it.
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != token:
        raise ValueError("not canonical")
    seal, body = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _seal(body, key)):
        raise ValueError("wrong seal")
    value: dict[str, object] = json.loads(body)
    return value


def _seal(body: bytes, key: str) -> bytes:
    whole = hashlib.blake2b(key.encode()).digest() if key else b""
    return hashlib.blake2b(body, digest_size=_SEAL_BYTES, key=whole).digest()
