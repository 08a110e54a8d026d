"""QueryEncoderService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from services.common.convert import context_from_proto, vectors_to_proto
from services.common.errors import Conflict
from services.common.rpc import rpc
from services.query_encoder.convert import (
    concepts_to_proto,
    constraint_to_proto,
    images_from_request,
    prefix_and_limit,
    products_from_request,
    suggestion_to_proto,
    understanding_to_proto,
)
from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.lexicon import learn
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.domain.query_reading import QueryReader
from services.query_encoder.domain.text import detect_language, normalise, tokens
from services.query_encoder.domain.understanding import Understander
from services.query_encoder.past_queries import PastQueries
from services.query_encoder.pictures import Pictures
from services.query_encoder.ports import Encoder, LexiconStore, PictureEncoder
from services.query_encoder.served_model import ServedModel
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.vocabulary import Vocabularies


class QueryEncoderHandler(encoder_pb2_grpc.QueryEncoderServiceServicer):
    """`other_encoder`: a second model that is served as well, while the catalogue goes from one to the other."""

    def __init__(
        self,
        encoder: Encoder,
        lexicons: LexiconStore,
        graph: ConceptGraph,
        settings: QueryEncoderSettings,
        picture_encoder: PictureEncoder | None = None,
        other_encoder: Encoder | None = None,
        understander: Understander | None = None,
    ) -> None:
        self._lexicons = lexicons
        self._settings = settings
        self._vocabularies = Vocabularies(lexicons, graph)
        self._reader, self._understander = QueryReader(graph, settings.default_currency), understander
        self._past_queries = PastQueries()
        self._query_thread = ThreadPoolExecutor(1, "queries")
        self._bulk_threads = ThreadPoolExecutor(settings.bulk_threads, "bulk")
        self._models = [
            ServedModel(served, settings, self._query_thread, self._bulk_threads)
            for served in (encoder, other_encoder)
            if served is not None
        ]
        self._pictures = Pictures(picture_encoder, self._bulk_threads)

    @rpc(encoder_pb2.EncodeQueryResponse)
    async def EncodeQuery(self, request: encoder_pb2.EncodeQueryRequest) -> encoder_pb2.EncodeQueryResponse:
        context = context_from_proto(request.context)
        normal = normalise(request.text)
        vocabulary = await self._vocabularies.of(context.tenant)
        said = self._reader.read(normal, vocabulary.lexicon, vocabulary.corrector, vocabulary.expander)
        self._past_queries.saw(context.tenant, said.corrected)
        # In turn: the models share the thread of the queries anyway.
        (plain, vector), *others = [
            await model.query_vector(said.encoded_text(model.reads_chinese), request.query_context, context)
            for model in self._models
        ]
        answer = encoder_pb2.EncodeQueryResponse(
            language=detect_language(normal),
            normalized_text=normal,
            corrected_text=said.corrected,
            retrieval_text=said.retrieval_text,
            tokens=tokens(said.retrieval_text),
            constraints=map(constraint_to_proto, said.constraints),
            vector=None if vector is None else vectors_to_proto(vector[np.newaxis], self._models[0].model_version),
            concepts=concepts_to_proto(said.expansion),
            rendered_text=said.rendering,
            spelling_alternatives=said.spelling_alternatives,
            other_vectors=[
                vectors_to_proto(other[np.newaxis], model.model_version)
                for model, (_, other) in zip(self._models[1:], others, strict=True)
                if other is not None
            ],
        )
        if self._understander is not None:
            understanding = self._understander.understand(said, plain, vocabulary.lexicon)
            answer.understanding.CopyFrom(understanding_to_proto(understanding, self._understander.model_version))
        return answer

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
        models = self._asked(request.model_version)
        image_vectors, problems = await self._pictures.of_products(images, context)
        texts = [product_text(product) for product in products]
        vectors, *others = [
            vectors_to_proto(await model.product_vectors(texts, context), model.model_version) for model in models
        ]
        if not request.model_version:
            loop = asyncio.get_running_loop()
            update = await loop.run_in_executor(self._bulk_threads, learn, products)
            await loop.run_in_executor(self._bulk_threads, self._lexicons.add, context.tenant, update)
        answer = encoder_pb2.EncodeProductsResponse(vectors=vectors, other_vectors=others)
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

    def _asked(self, model_version: str) -> Sequence[ServedModel]:
        """The models that vectors are wanted of; all of them for an empty version. Raises Conflict."""
        asked = [model for model in self._models if model_version in ("", model.model_version)]
        if not asked:
            served = ", ".join(model.model_version for model in self._models)
            raise Conflict(
                f"model_version: {model_version!r} is not served, but {served}; KAIROS_QUERY_ENCODER_OTHER_MODEL_DIR "
                "and KAIROS_QUERY_ENCODER_OTHER_MODEL_VERSION name a second model"
            )
        return asked

    def warm(self, tenant: str) -> None:
        """Load what is loaded at first use now, the tenant's words included: its first query need not wait for it."""
        self._vocabularies.read(tenant)
        self._vocabularies.build_suggester(tenant)
        tokens("分词 words")
        self.check()

    def check(self) -> None:
        """Raises when the model cannot answer."""
        for model in self._models:
            model.check()

    def close(self) -> None:
        self._query_thread.shutdown(cancel_futures=True)
        self._pictures.close()
        self._bulk_threads.shutdown(cancel_futures=True)
        self._vocabularies.close()
        self._lexicons.close()
