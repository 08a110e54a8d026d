"""The calls of `kairos train`: it reads the log, and writes item vectors beside the live ones."""

from __future__ import annotations

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto
from services.common.errors import InvalidArgument
from services.common.limits import MAX_ITEM_DIMENSIONS, MAX_MODEL_VERSION, text_problem
from services.gateway.convert import check_texts, require_ids, require_model_version
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

MAX_STORED = 500
DEFAULT_LOGGED, MAX_LOGGED = 500, 1_000


async def read_log(calls: StageCalls, parts: Parts, message: gateway_pb2.ReadLogRequest) -> gateway_pb2.ReadLogResponse:
    check_texts(message)
    if not message.log:
        raise InvalidArgument.of("log", "is missing; send a value of LogKind")
    if message.page_size < 0:
        raise InvalidArgument.of("page_size", f"{message.page_size} is negative; send 1 to {MAX_LOGGED}")
    ask = ranker_pb2.ReadLogRequest(
        log=message.log, page_token=message.page_token,
        page_size=min(message.page_size or DEFAULT_LOGGED, MAX_LOGGED),
    )  # fmt: skip
    page = await calls.call(Stage.RANKER, parts.stubs.ranker.ReadLog, ask)
    return gateway_pb2.ReadLogResponse(
        events=page.events, impressions=page.impressions, next_page_token=page.next_page_token,
        is_last_page=page.is_last_page, attributes=page.attributes, request_id=calls.info.request_id,
    )  # fmt: skip


async def describe_item_vectors(calls: StageCalls, parts: Parts) -> gateway_pb2.DescribeItemVectorsResponse:
    ask = retrieval_pb2.DescribeItemVectorsRequest()
    found = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.DescribeItemVectors, ask)
    return gateway_pb2.DescribeItemVectorsResponse(versions=found.versions)


async def begin_item_vectors(calls: StageCalls, parts: Parts, message: gateway_pb2.BeginItemVectorsRequest) -> None:
    require_model_version(message)
    if not 1 <= message.dimensions <= MAX_ITEM_DIMENSIONS:
        raise InvalidArgument.of("dimensions", f"is {message.dimensions}; send 1 to {MAX_ITEM_DIMENSIONS}")
    begin = retrieval_pb2.BeginItemVectorsRequest(model_version=message.model_version, dimensions=message.dimensions)
    if message.HasField("map"):
        if problem := text_problem(message.map.model_version, MAX_MODEL_VERSION):
            raise InvalidArgument.of("map.model_version", problem)
        columns = vectors_from_proto(message.map, "map").shape[1]
        if columns != message.dimensions:
            raise InvalidArgument.of("map.values.shape", f"has {columns} columns; send {message.dimensions}")
        begin.map.CopyFrom(message.map)
    await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.BeginItemVectors, begin)


async def store_item_vectors(
    calls: StageCalls, parts: Parts, message: gateway_pb2.StoreItemVectorsRequest
) -> gateway_pb2.StoreItemVectorsResponse:
    require_model_version(message)
    store = retrieval_pb2.StoreItemVectorsRequest(model_version=message.model_version, is_complete=message.is_complete)
    if message.ids or message.HasField("vectors"):
        require_ids("ids", message.ids, MAX_STORED)
        if len(set(message.ids)) != len(message.ids):
            raise InvalidArgument.of("ids", "names a product twice; send each once")
        if message.vectors.model_version != message.model_version:
            raise InvalidArgument.of("vectors.model_version", f"is another one; send {message.model_version!r}")
        if len(vectors_from_proto(message.vectors, "vectors")) != len(message.ids):
            raise InvalidArgument.of(
                "vectors.values.shape", f"has other rows than {len(message.ids)}; send one for each id"
            )
        store.ids.extend(message.ids)
        store.vectors.CopyFrom(message.vectors)
    stored = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.StoreItemVectors, store)
    return gateway_pb2.StoreItemVectorsResponse(stored_count=stored.stored_count)


async def drop_item_vectors(calls: StageCalls, parts: Parts, message: gateway_pb2.DropItemVectorsRequest) -> None:
    require_model_version(message)
    drop = retrieval_pb2.DropItemVectorsRequest(model_version=message.model_version)
    await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.DropItemVectors, drop)
