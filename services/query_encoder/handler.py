"""QueryEncoderService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from services.common import answer_cache
from services.common.arrays import FloatArray
from services.common.call_limit import MOST_IMPORTS
from services.common.context import RequestContext
from services.common.convert import context_from_proto
from services.common.errors import Conflict
from services.common.models.follower import Follower
from services.common.product import Product
from services.common.rpc import rpc
from services.query_encoder.convert import (
    encoded_products_to_proto,
    encoded_query_to_proto,
    images_from_request,
    lexicon_update_from_request,
    prefix_and_limit,
    products_from_request,
    query_context_from_proto,
    shopper_from_proto,
    suggestion_to_proto,
    understanding_to_proto,
    vector_to_proto,
)
from services.query_encoder.convert_companions import companions_to_proto, texts_and_limit
from services.query_encoder.convert_texts import texts_from_proto, texts_to_proto
from services.query_encoder.domain.companions import Companions, name_of
from services.query_encoder.domain.lexicon import FORGOTTEN, terms_of
from services.query_encoder.domain.past_queries import PastQueries
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.domain.query_context import QueryContext, QueryVectors
from services.query_encoder.domain.query_reader import QueryReader
from services.query_encoder.domain.query_reading import QueryReading
from services.query_encoder.domain.text import normalise, tokens
from services.query_encoder.ports import LexiconStore
from services.query_encoder.served_encoder import ServedEncoder
from services.query_encoder.served_image_encoder import ServedImageEncoder
from services.query_encoder.text_versions import TextVersions
from services.query_encoder.understanding_versions import UnderstandingVersions
from services.query_encoder.vocabulary import Vocabularies

# Images of queries that are decoded and encoded or wait for that. It takes some 30 ms each, one after the other.
_MOST_IMAGES = 4


class QueryEncoderHandler(encoder_pb2_grpc.QueryEncoderServiceServicer):
    """`query_thread` and `import_threads` are the ones that the encoders use; `close` ends them and the `followers`,
    which keep the versions up to date, and calls `close_images`.
    """

    def __init__(
        self,
        texts: TextVersions,
        image_encoder: ServedImageEncoder,
        reader: QueryReader,
        companions: Companions,
        understandings: UnderstandingVersions,
        lexicons: LexiconStore,
        vocabularies: Vocabularies,
        stop_words: frozenset[str],
        query_thread: ThreadPoolExecutor,
        import_threads: ThreadPoolExecutor,
        followers: Sequence[Follower],
        close_images: Callable[[], None],
    ) -> None:
        self._texts, self._image_encoder = texts, image_encoder
        self._reader, self._understandings, self._companions = reader, understandings, companions
        self._lexicons, self._vocabularies, self._past_queries = lexicons, vocabularies, PastQueries()
        self._stop_words = stop_words
        self._query_thread, self._import_threads = query_thread, import_threads
        self._followers, self._close_images = followers, close_images

    @rpc(encoder_pb2.EncodeQueryResponse)
    async def EncodeQuery(self, request: encoder_pb2.EncodeQueryRequest) -> encoder_pb2.EncodeQueryResponse:
        context, normal = context_from_proto(request.context), normalise(request.text)
        shopper = shopper_from_proto(request)
        # One read: the query keeps these versions, whatever is loaded meanwhile.
        encoders = self._texts.for_query(context.tenant, shopper)
        understander = self._understandings.for_query(context.tenant, shopper)
        dimensions = {encoder.model_version: encoder.dimensions for encoder in encoders}
        query_context = query_context_from_proto(request.query_context, dimensions)
        vocabulary = await self._vocabularies.vocabulary_of(context.tenant)
        reading = self._reader.read(normal, vocabulary.lexicon, vocabulary.corrector, vocabulary.expander)
        self._past_queries.add(context.tenant, reading.corrected, shopper)
        # One after the other: the encoders share the thread of the queries.
        vectors = [
            await encoder.encode_query(reading.encoded_text(encoder.reads_chinese), query_context, context)
            for encoder in encoders
        ]
        answer = encoded_query_to_proto(reading, vectors, self._stop_words)
        if understander is not None:
            plain = await self._plain_vector(reading, vectors, context)
            understanding = understander.understand(reading, plain, vocabulary.lexicon)
            answer.understanding.CopyFrom(understanding_to_proto(understanding, understander.model_version))
        return answer

    @rpc(encoder_pb2.SuggestResponse)
    async def Suggest(self, request: encoder_pb2.SuggestRequest) -> encoder_pb2.SuggestResponse:
        context = context_from_proto(request.context)
        prefix, limit = prefix_and_limit(request)
        suggester = await self._vocabularies.suggester_of(context.tenant)
        queries = self._past_queries.counts_of(context.tenant)
        suggestions = suggester.suggest(prefix, limit, context.locale, queries)
        return encoder_pb2.SuggestResponse(suggestions=map(suggestion_to_proto, suggestions))

    @rpc(encoder_pb2.EncodeProductsResponse, most_calls=MOST_IMPORTS)
    async def EncodeProducts(self, request: encoder_pb2.EncodeProductsRequest) -> encoder_pb2.EncodeProductsResponse:
        context = context_from_proto(request.context)
        products, images = products_from_request(request), images_from_request(request)
        encoders = self._encoders_for(context.tenant, request.model_version)
        encoded_images = await self._image_encoder.encode_products(images, context)
        texts = [product_text(product) for product in products]
        vectors = [(await encoder.encode_products(texts, context), encoder.model_version) for encoder in encoders]
        if not request.model_version:
            # The import rejects a product whose image cannot be read.
            await self._learn(context, [p for row, p in enumerate(products) if row not in encoded_images.problems])
        return encoded_products_to_proto(vectors, encoded_images)

    @rpc(encoder_pb2.UpdateLexiconResponse, most_calls=MOST_IMPORTS)
    async def UpdateLexicon(self, request: encoder_pb2.UpdateLexiconRequest) -> encoder_pb2.UpdateLexiconResponse:
        context = context_from_proto(request.context)
        products, deleted_ids = lexicon_update_from_request(request)
        await self._learn(context, products, deleted_ids)
        return encoder_pb2.UpdateLexiconResponse()

    @rpc(encoder_pb2.ListCompanionsResponse)
    async def ListCompanions(self, request: encoder_pb2.ListCompanionsRequest) -> encoder_pb2.ListCompanionsResponse:
        context = context_from_proto(request.context)
        texts, limit = texts_and_limit(request)
        found, encoder = self._companions.of(texts, limit), self._texts.current(context.tenant)
        vectors = [await encoder.encode_query(name_of(concept), QueryContext(), context) for concept in found]
        return companions_to_proto(found, vectors, encoder.dimensions)

    @rpc(encoder_pb2.EncodeImageResponse, most_calls=_MOST_IMAGES)
    async def EncodeImage(self, request: encoder_pb2.EncodeImageRequest) -> encoder_pb2.EncodeImageResponse:
        vector, version = await self._image_encoder.encode_query(request.image, context_from_proto(request.context))
        return encoder_pb2.EncodeImageResponse(vector=vector_to_proto(vector, version))

    @rpc(encoder_pb2.EncodeTextsResponse, most_calls=MOST_IMPORTS)
    async def EncodeTexts(self, request: encoder_pb2.EncodeTextsRequest) -> encoder_pb2.EncodeTextsResponse:
        context, texts = context_from_proto(request.context), texts_from_proto(request)
        rows = []
        for encoder in self._texts.for_products(context.tenant):
            if request.are_queries:
                vectors = [await encoder.encode_query(text, QueryContext(), context) for text in texts]
                plain = [np.zeros(encoder.dimensions, np.float32) if v.plain is None else v.plain for v in vectors]
                rows.append((np.stack(plain), encoder.model_version))
            else:
                rows.append((await encoder.encode_products(texts, context), encoder.model_version))
        return texts_to_proto(texts, rows)

    def warm(self, tenant: str) -> None:
        """Loads what the first request would load otherwise, with the words of `tenant`."""
        self._vocabularies.read(tenant)
        self._vocabularies.build_suggester(tenant)
        tokens("分词 words", self._stop_words)
        self.check()

    def measures(self) -> dict[str, float]:
        """The values of metrics.MEASURES: the caches of all text encoders together."""
        found = [encoder.measures() for encoder in self._texts.all()]
        return {f"kairos_query_encoder_cache_{name}": sum(one[name] for one in found) for name in answer_cache.MEASURES}

    def check(self) -> None:
        """Raises if a text encoder cannot answer."""
        for encoder in self._texts.all():
            encoder.check()

    def close(self) -> None:
        for follower in self._followers:
            follower.close()
        self._query_thread.shutdown(cancel_futures=True)
        self._import_threads.shutdown(cancel_futures=True)
        self._image_encoder.close()
        self._close_images()
        self._vocabularies.close()
        self._lexicons.close()

    def _encoders_for(self, tenant: str, model_version: str) -> Sequence[ServedEncoder]:
        """The encoder of this version; all of the tenant's for an empty version. Raises Conflict."""
        encoders = self._texts.for_products(tenant)
        if not model_version:
            return encoders
        known = {encoder.model_version: encoder for encoder in (*encoders, self._texts.first)}
        if model_version not in known:
            raise Conflict(
                f"model_version: {model_version!r} is not served; the served versions are {', '.join(known)}. "
                "`kairos models promote` serves a trained version, KAIROS_QUERY_ENCODER_OTHER_MODEL_DIR and "
                "KAIROS_QUERY_ENCODER_OTHER_MODEL_VERSION name a second model"
            )
        return [known[model_version]]

    async def _plain_vector(
        self, reading: QueryReading, vectors: Sequence[QueryVectors], context: RequestContext
    ) -> FloatArray | None:
        """Of the query by the first model of the settings, which the understanding reads."""
        encoder = self._texts.first
        for known in vectors:
            if known.model_version == encoder.model_version:
                return known.plain
        text = reading.encoded_text(encoder.reads_chinese)
        return (await encoder.encode_query(text, QueryContext(), context)).plain

    async def _learn(
        self, context: RequestContext, products: Sequence[Product], deleted_ids: Sequence[str] = ()
    ) -> None:
        """Updates the tenant's lexicon."""

        def update() -> None:
            learned = {product.id: terms_of(product) for product in products}
            self._lexicons.put(context.tenant, dict.fromkeys(deleted_ids, FORGOTTEN) | learned)

        await asyncio.get_running_loop().run_in_executor(self._import_threads, update)
