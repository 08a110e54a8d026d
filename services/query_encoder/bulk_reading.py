"""Reads and encodes many queries in the same way as EncodeQuery: for training, labelling and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray
from services.query_encoder.domain.expansion import Expander, shop_words
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.query_reader import QueryReader
from services.query_encoder.domain.query_reading import QueryReading
from services.query_encoder.domain.text import normalise
from services.query_encoder.ports import Encoder
from services.query_encoder.served_encoder import reads_chinese
from services.query_encoder.settings import QueryEncoderSettings

# Queries of one call of the encoder.
_CHUNK = 128


@dataclass(frozen=True)
class ReadQuery:
    """`vector` is that of the text without a context, shape [dimensions]; None if the encoder cannot read the text."""

    reading: QueryReading
    vector: FloatArray | None


class BulkReader:
    """Reads queries with the words of one shop, `lexicon`."""

    def __init__(self, encoder: Encoder, domain: QueryDomain, lexicon: Lexicon, settings: QueryEncoderSettings) -> None:
        self._encoder, self._lexicon, self._max_tokens = encoder, lexicon, settings.max_query_tokens
        self._reader = QueryReader(domain, settings.default_currency)
        self._corrector = domain.corrector(lexicon)
        self._expander = Expander(domain.graph, shop_words(lexicon.words))
        self._reads_chinese = reads_chinese(encoder, self._max_tokens)

    def read(self, texts: Sequence[str]) -> Iterator[ReadQuery]:
        """In the order of `texts`. Raises InvalidArgument for a text that EncodeQuery would refuse."""
        for start in range(0, len(texts), _CHUNK):
            readings = [
                self._reader.read(normalise(text), self._lexicon, self._corrector, self._expander)
                for text in texts[start : start + _CHUNK]
            ]
            vectors = self._encoder.encode(
                [reading.encoded_text(self._reads_chinese) for reading in readings], self._max_tokens, "query"
            )
            for reading, vector in zip(readings, vectors, strict=True):
                yield ReadQuery(reading, vector if np.any(vector) else None)
