"""What was learned from one product, as the lexicon stores keep it: compressed JSON of texts by kind of term."""

from __future__ import annotations

import json
import zlib

from services.query_encoder.domain.lexicon import FORGOTTEN, WORDS, Term, Terms

# Of words that an earlier version learned.
REMEDY = "import the catalogue again, and delete them"


def record_of(terms: Terms) -> bytes:
    """Equal terms have equal records. Empty for no terms."""
    texts: dict[str, list[str]] = {}
    for kind, text in sorted(terms):
        texts.setdefault(kind, []).append(text)
    return zlib.compress(json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode()) if texts else b""


def terms_in(record: bytes) -> Terms:
    if not record:
        return FORGOTTEN
    return frozenset(Term(kind, text) for kind, texts in json.loads(zlib.decompress(record)).items() for text in texts)


def words_in(record: bytes) -> list[str]:
    words: list[str] = json.loads(zlib.decompress(record)).get(WORDS, [])
    return words
