"""Opaque tokens: the next page, and the ranking that an event belongs to.

A token carries a seal (keyed BLAKE2b): a token that was forged, or changed on its way, is refused. All content is
checked behind the seal as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from services.common.attribution import SEAL_BYTES
from services.common.errors import InvalidArgument
from services.common.limits import MAX_PAGE_TOKEN, id_problem, language_problem

# Of an int32 in the contract.
_MAX_NUMBER = 2**31 - 1
_PLACED = re.compile(r"[1-9]\d{0,3}:[\w-]{8}", re.ASCII)
# Characters that stand for a product: a page token has room for those of all products that rules may name.
_KEY = 8


@dataclass(frozen=True)
class PageToken:
    """Where the next page of a request begins.

    Either `ranking_id` names the stored ranking, or `cursor` is retrieval's, when browsing. With both, the page is in
    the ranking, and the cursor leads on behind it. With neither the page is computed from the first product on.
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
    # Of the total: a number of product.proto's CountAccuracy.
    accuracy: int = 0
    # The conditions that were read from the query: a serialised ProductFilter in base64.
    soft_filter: str = ""
    # Keys of products that rules put before their turn when browsing, with blanks between them.
    moved: str = ""
    # The rules that exclude products from this ranking: see RuleIndex.excluded_by.
    excluding: str = ""
    # The sponsored places of the first page: "position:key" of each, with blanks between them.
    sponsored: str = ""
    # What the coin of an interleaved ranking was drawn from.
    coin: str = ""

    def encode(self, key: str) -> str:
        return _encode({name: value for name, value in asdict(self).items() if value not in ("", 0)}, key)

    @property
    def numbers(self) -> tuple[int, int, int]:
        return self.offset, self.total_size, self.accuracy

    @classmethod
    def decode(cls, token: str, fingerprint: str, *keys: str) -> PageToken:
        """Raises InvalidArgument for a forged or damaged token, and for one of another request."""
        try:
            page = cls(**_decode(token, keys))  # type: ignore[arg-type]
            _check_id(page.ranking_id)
            _check_id(page.coin)
            texts = (page.fingerprint, page.cursor, page.locale, page.soft_filter, page.moved, page.excluding)
            if not all(isinstance(text, str) for text in (*texts, page.sponsored)):
                raise ValueError("not a token of the gateway")
            if not all(_PLACED.fullmatch(entry) for entry in page.sponsored.split()):
                raise ValueError("not a token of the gateway")
            base64.b64decode(page.soft_filter, validate=True)
            if not all(type(number) is int and 0 <= number <= _MAX_NUMBER for number in page.numbers):
                raise ValueError("not a token of the gateway")
            if page.locale and language_problem(page.locale):
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
    def decode(cls, token: str, *keys: str) -> AttributionToken | None:
        """None for a forged or damaged token."""
        try:
            found = cls(**_decode(token, keys))  # type: ignore[arg-type]
            _check_id(found.ranking_id)
            if not isinstance(found.model_version, str):
                raise ValueError("not a token of the gateway")
        except (ValueError, TypeError):
            return None
        return found


def fingerprint(*parts: bytes | str) -> str:
    """A digest of everything that identifies a request."""
    digest = hashlib.blake2b(digest_size=9)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(len(data).to_bytes(4, "little") + data)
    return base64.urlsafe_b64encode(digest.digest()).decode()


def product_key(id: str) -> str:
    """A short form of the id without blanks, for lists in page tokens."""
    return fingerprint(id)[:_KEY]


def _encode(value: dict[str, object], key: str) -> str:
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(_seal(body, key) + body).decode().rstrip("=")


def _check_id(ranking_id: object) -> None:
    if not isinstance(ranking_id, str) or id_problem(ranking_id, required=False):
        raise ValueError("not a token of the gateway")


def _decode(token: str, keys: Sequence[str]) -> dict[str, object]:
    """Raises ValueError for anything but the exact output of `_encode` with one of the keys."""
    if len(token) > MAX_PAGE_TOKEN:
        raise ValueError("too long")
    data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    # The decoder ignores foreign characters and the last bits. Each token has exactly one accepted text.
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != token:
        raise ValueError("not canonical")
    seal, body = data[:SEAL_BYTES], data[SEAL_BYTES:]
    if not any(hmac.compare_digest(seal, _seal(body, key)) for key in keys):
        raise ValueError("wrong seal")
    value: dict[str, object] = json.loads(body)
    return value


def _seal(body: bytes, key: str) -> bytes:
    return hashlib.blake2b(body, digest_size=SEAL_BYTES, key=hashlib.blake2b(key.encode()).digest()).digest()
