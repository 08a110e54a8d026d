"""A text encoder at work: queries in batches, products in bulk. Two of them serve while a catalogue changes models."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

import numpy as np

from services.common.answer_cache import AnswerCache
from services.common.arrays import FloatArray
from services.common.context import RequestContext
from services.query_encoder.batching import QueryBatcher
from services.query_encoder.domain.query_context import QueryContext, QueryVectors, in_category, session_mixing
from services.query_encoder.ports import Encoder
from services.query_encoder.settings import QueryEncoderSettings

# Products encoded in one go. So few are quickly done: a query never waits long for a core.
_CHUNK = 32
# Bytes that an entry of the cache takes beside its text and its vector: objects and hash tables.
_ENTRY_BYTES = 600
_CHINESE_EXAMPLE = "红色的手机"


def reads_chinese(encoder: Encoder, max_tokens: int) -> bool:
    """Whether the model knows the words of a simple Chinese query."""
    return bool(np.any(encoder.encode([_CHINESE_EXAMPLE], max_tokens, "query")))


class ServedEncoder:
    """Queries have a thread of their own: no query waits for an import."""

    def __init__(
        self, encoder: Encoder, settings: QueryEncoderSettings, query_thread: Executor, import_threads: Executor
    ) -> None:
        self._encoder = encoder
        self._settings = settings
        self._import_threads = import_threads
        # With int8, one query at a time: a batch shares one scale, so that an answer would depend on the other queries
        # of that moment. Queries are short, and a batch of eight saves little: 1.44 instead of 1.47 ms a query.
        max_batch = 1 if settings.backend == "onnx-int8" else settings.max_batch
        self._batcher = QueryBatcher(self._encode_queries, query_thread, max_batch)
        # By text: this object has one model, one version and one limit of tokens.
        self._vectors: AnswerCache[str, FloatArray] = AnswerCache(settings.vector_cache_mb << 20, _bytes_of)
        self.model_version = encoder.model_version
        self.dimensions = encoder.dimensions
        self.reads_chinese = reads_chinese(encoder, settings.max_query_tokens)

    async def encode_query(self, text: str, query_context: QueryContext, context: RequestContext) -> QueryVectors:
        """Raises BudgetExpired. A session vector of another model is ignored."""
        vector = await self._vector(text, context)
        if not np.any(vector):
            return QueryVectors(self.model_version, None, None)
        category = await self._vector(query_context.category, context) if query_context.category else None
        if category is not None and not np.any(category):
            category = None
        weights = self._settings.alpha, self._settings.beta
        mixing, in_context = session_mixing(vector, category, *weights), in_category(vector, category, *weights)
        if query_context.session is None:
            return QueryVectors(
                self.model_version, vector, in_context, mixing if query_context.session_follows else None
            )
        if query_context.session_version == self.model_version:
            mixed = mixing.mixed(query_context.session)
            in_context = in_context if mixed is None else mixed
        return QueryVectors(self.model_version, vector, in_context)

    async def encode_products(self, texts: Sequence[str], context: RequestContext) -> FloatArray:
        """Shape [len(texts), dimensions]. Raises BudgetExpired.

        Each chunk runs in one thread: threads that share an inference wait for each other. The longest texts go first,
        so that no thread works on a long chunk while the others have nothing left to do.
        """

        def encode(chunk: Sequence[str]) -> FloatArray:
            context.require_time()
            return self._encoder.encode(chunk, self._settings.max_product_tokens, "product")

        loop = asyncio.get_running_loop()
        # Not a set: with int8 a vector depends on the other texts of its chunk, and a set's order differs by process.
        distinct = sorted(dict.fromkeys(texts), key=len, reverse=True)
        chunks = [distinct[start : start + _CHUNK] for start in range(0, len(distinct), _CHUNK)]
        rows = await asyncio.gather(*(loop.run_in_executor(self._import_threads, encode, chunk) for chunk in chunks))
        by_text = dict(zip(distinct, np.concatenate(rows), strict=True))
        return np.stack([by_text[text] for text in texts])

    def measures(self) -> Mapping[str, float]:
        """Of the cache of vectors: see answer_cache.MEASURES."""
        return self._vectors.measures()

    def check(self) -> None:
        """Raises if the model cannot answer."""
        self._encoder.encode(["ok"], self._settings.max_query_tokens, "query")

    def _encode_queries(self, texts: Sequence[str]) -> FloatArray:
        return self._encoder.encode(texts, self._settings.max_query_tokens, "query")

    async def _vector(self, text: str, context: RequestContext) -> FloatArray:
        """Of a query or a category, shape [dimensions], read-only. Raises BudgetExpired."""

        async def encode() -> FloatArray:
            # A copy: the row would keep its whole batch in memory.
            vector = np.array(await self._batcher.encode(text, context.deadline_s))
            vector.setflags(write=False)
            return vector

        return await self._vectors.get(text, context, encode)


def _bytes_of(text: str, vector: FloatArray) -> int:
    return len(text.encode()) + vector.nbytes + _ENTRY_BYTES
