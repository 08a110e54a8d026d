"""Opaque tokens: the next page, and the ranking that an event belongs to.

A token carries a seal (keyed BLAKE2b): a token that was changed on its way is refused. Without a key the seal still
detects every damage, but anyone who knows this file can forge a token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

from services.common.errors import InvalidArgument

# Longer than any token of the gateway: retrieval's cursor holds an id of at most 128 characters.
_MAX_LENGTH = 4_096
_SEAL_BYTES = 9
# Of an int32 in the contract.
_MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class PageToken:
    """Where the next page of a request begins.

    Either `ranking_id` names the stored ranking, or `cursor` is retrieval's, when browsing. With neither the page is
    computed from the first product on.
    """

    # Of the request, without the fields that may differ from page to page.
    fingerprint: str
    # Products before the page.
    offset: int = 0
    ranking_id: str = ""
    cursor: str = ""
    # Of all pages, when browsing.
    total_size: int = 0
    # Of the titles: the first page may have detected it from the query.
    locale: str = ""

    def encode(self, key: str) -> str:
        return _encode({name: value for name, value in asdict(self).items() if value not in ("", 0)}, key)

    @classmethod
    def decode(cls, token: str, fingerprint: str, key: str) -> PageToken:
        """Raises InvalidArgument for a forged or damaged token, and for one of another request."""
        try:
            page = cls(**_decode(token, key))  # type: ignore[arg-type]
            texts, numbers = (page.ranking_id, page.cursor, page.locale), (page.offset, page.total_size)
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("not a token of the gateway")
            if not all(isinstance(number, int) and 0 <= number <= _MAX_NUMBER for number in numbers):
                raise ValueError("not a token of the gateway")
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
        """None for a forged or damaged token."""
        try:
            return cls(**_decode(token, key))  # type: ignore[arg-type]
        except (ValueError, TypeError):
            return None


def ranking_of(token: str) -> str:
    """The ranking id in an attribution token of the log; empty if there is none.

    The seal is not checked: RecordEvents accepted only sealed tokens, and readers of the log need no key.
    """
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        return str(json.loads(data[_SEAL_BYTES:])["ranking_id"])
    except (ValueError, TypeError, KeyError):
        return ""


def fingerprint(*parts: bytes | str) -> str:
    """A digest of everything that identifies a request."""
    digest = hashlib.blake2b(digest_size=9)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(len(data).to_bytes(4, "little") + data)
    return base64.urlsafe_b64encode(digest.digest()).decode()


def _encode(value: dict[str, object], key: str) -> str:
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(_seal(body, key) + body).decode().rstrip("=")


def _decode(token: str, key: str) -> dict[str, object]:
    """Raises ValueError for anything but the exact output of `_encode`."""
    if len(token) > _MAX_LENGTH:
        raise ValueError("too long")
    data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    # The decoder ignores foreign characters and the last bits. Each token has exactly one accepted text.
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
