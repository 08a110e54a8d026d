"""QueryEncoderService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from services.common.context import RequestContext
from services.common.convert import context_from_proto, vectors_to_proto
from services.common.rpc import rpc
from services.query_encoder.batching import QueryBatcher
from services.query_encoder.convert import (
    category_text,
    concepts_to_proto,
    constraint_to_proto,
    images_from_request,
    prefix_and_limit,
    products_from_request,
    session_vector,
    suggestion_to_proto,
)
from services.query_encoder.domain.concept_constraints import with_colours
from services.query_encoder.domain.concept_finding import ConceptFinder
from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.constraints import find_constraints, without_price
from services.query_encoder.domain.lexicon import learn
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.domain.query_vector import mix
from services.query_encoder.domain.text import detect_language, normalise, tokens
from services.query_encoder.past_queries import PastQueries
from services.query_encoder.pictures import Pictures
from services.query_encoder.ports import Encoder, FloatArray, LexiconStore, PictureEncoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.vocabulary import Vocabularies

# Products encoded in one go: short enough that a query never waits long for its turn on the cores.
_BULK_CHUNK = 32
# A model has a vector for this when it reads Chinese.
_CHINESE = "红色的手机"


class QueryEncoderHandler(encoder_pb2_grpc.QueryEncoderServiceServicer):
    """Queries have a thread of their own, beside those of the imports."""

    def __init__(
        self,
        encoder: Encoder,
        lexicons: LexiconStore,
        graph: ConceptGraph,
        settings: QueryEncoderSettings,
        picture_encoder: PictureEncoder | None = None,
    ) -> None:
        self._encoder = encoder
        self._lexicons = lexicons
        self._settings = settings
        self._vocabularies = Vocabularies(lexicons, graph)
        self._graph, self._finder = graph, ConceptFinder(graph)
        self._past_queries = PastQueries()
        self._query_thread = ThreadPoolExecutor(1, "queries")
        self._bulk_threads = ThreadPoolExecutor(settings.bulk_threads, "bulk")
        self._batcher = QueryBatcher(
            lambda texts: encoder.encode(texts, settings.max_query_tokens), self._query_thread, settings.max_batch
        )
        self._pictures = Pictures(picture_encoder, self._bulk_threads)
        self._category_vectors: dict[str, FloatArray] = {}
        self._reads_chinese = bool(np.any(encoder.encode([_CHINESE], settings.max_query_tokens)))

    @rpc(encoder_pb2.EncodeQueryResponse)
    async def EncodeQuery(self, request: encoder_pb2.EncodeQueryRequest) -> encoder_pb2.EncodeQueryResponse:
        context = context_from_proto(request.context)
        normal = normalise(request.text)
        vocabulary = await self._vocabularies.of(context.tenant)
        spelling = vocabulary.corrector.read(normal)
        corrected = spelling.text
        constraints = find_constraints(corrected, vocabulary.lexicon, self._settings.default_currency)
        retrieval_text = without_price(corrected, constraints)
        reading = self._finder.read(retrieval_text)
        expansion = vocabulary.expander.expand(reading, retrieval_text)
        constraints = with_colours(constraints, reading.found, vocabulary.lexicon, self._graph)
        rendered = "" if self._reads_chinese else expansion.rendering
        self._past_queries.saw(context.tenant, corrected)
        vector = await self._query_vector(rendered or retrieval_text, request.query_context, context)
        return encoder_pb2.EncodeQueryResponse(
            language=detect_language(normal),
            normalized_text=normal,
            corrected_text=corrected,
            retrieval_text=retrieval_text,
            tokens=tokens(retrieval_text),
            constraints=map(constraint_to_proto, constraints),
            vector=None if vector is None else vectors_to_proto(vector[np.newaxis], self._encoder.model_version),
            concepts=concepts_to_proto(expansion),
            rendered_text=rendered,
            guessed_words=spelling.guesses,
        )

    @rpc(encoder_pb2.SuggestResponse)
    async def Suggest(self, request: encoder_pb2.SuggestRequest) -> encoder_pb2.SuggestResponse:
        context = context_from_proto(request.context)
        prefix, limit = prefix_and_limit(request)
        suggester = await self._vocabularies.suggester_of(context.tenant)
        found = suggester.suggest(prefix, limit, context.locale, self._past_queries.of(context.tenant))
        return encoder_pb2.SuggestResponse(suggestions=map(suggestion_to_proto, found))

    @rpc(encoder_pb2.EncodeProductsResponse)
    async def EncodeProducts(self, request: encoder_pb2.EncodeProductsRequest) -> encoder_pb2.EncodeProductsResponse:
        context = context_from_proto(request.context)
        products, images = products_from_request(request), images_from_request(request)
        image_vectors, problems = await self._pictures.of_products(images, context)
        texts = [product_text(product) for product in products]
        by_text = await self._product_vectors(sorted(set(texts), key=len, reverse=True), context)
        loop = asyncio.get_running_loop()
        update = await loop.run_in_executor(self._bulk_threads, learn, products)
        await loop.run_in_executor(self._bulk_threads, self._lexicons.add, context.tenant, update)
        stacked = np.stack([by_text[text] for text in texts])
        answer = encoder_pb2.EncodeProductsResponse(vectors=vectors_to_proto(stacked, self._encoder.model_version))
        if image_vectors is not None:
            answer.image_vectors.CopyFrom(vectors_to_proto(image_vectors, self._pictures.model_version))
        for index, reason in sorted(problems.items()):
            answer.image_problems.add(index=index, reason=reason)
        return answer

    @rpc(encoder_pb2.EncodeImageResponse)
    async def EncodeImage(self, request: encoder_pb2.EncodeImageRequest) -> encoder_pb2.EncodeImageResponse:
        vector = await self._pictures.of_query(request.image, context_from_proto(request.context))
        return encoder_pb2.EncodeImageResponse(
            vector=vectors_to_proto(vector[np.newaxis], self._pictures.model_version)
        )

    async def _product_vectors(self, texts: Sequence[str], context: RequestContext) -> dict[str, FloatArray]:
        """Vectors by text. Chunks run side by side: threads that share one inference wait for each other at each step.

        Longest texts first, so that no thread is left with a long chunk at the end.
        """

        def encode(chunk: Sequence[str]) -> FloatArray:
            context.require_time()
            return self._encoder.encode(chunk, self._settings.max_product_tokens)

        loop = asyncio.get_running_loop()
        chunks = [texts[start : start + _BULK_CHUNK] for start in range(0, len(texts), _BULK_CHUNK)]
        rows = await asyncio.gather(*(loop.run_in_executor(self._bulk_threads, encode, chunk) for chunk in chunks))
        return dict(zip(texts, np.concatenate(rows), strict=True))

    async def _query_vector(
        self, text: str, query_context: encoder_pb2.QueryContext, context: RequestContext
    ) -> FloatArray | None:
        session = session_vector(query_context, self._encoder.model_version, self._encoder.dimensions)
        category = category_text(query_context)
        vector = await self._batcher.encode(text, context.deadline_s)
        if not np.any(vector):
            return None
        around = [] if session is None else [session]
        if category and np.any(category_vector := await self._category_vector(category)):
            around.append(category_vector)
        return mix(vector, around, self._settings.alpha, self._settings.beta)

    async def _category_vector(self, category: str) -> FloatArray:
        """A shop has few categories: each is encoded once (and the memory is emptied should they be many)."""
        if category not in self._category_vectors:
            if len(self._category_vectors) >= 1_000:
                self._category_vectors.clear()
            self._category_vectors[category] = await self._batcher.encode(category, None)
        return self._category_vectors[category]

    def warm(self, tenant: str) -> None:
        """Load what is loaded at first use now, the tenant's words included: its first query need not wait for it."""
        self._vocabularies.read(tenant)
        self._vocabularies.build_suggester(tenant)
        tokens("分词 words")
        self.check()

    def check(self) -> None:
        """Raises when the model cannot answer."""
        self._encoder.encode(["ok"], self._settings.max_query_tokens)

    def close(self) -> None:
        self._query_thread.shutdown(cancel_futures=True)
        self._pictures.close()
        self._bulk_threads.shutdown(cancel_futures=True)
        self._vocabularies.close()
        self._lexicons.close()
