"""Protobuf -> domain: what a public request says, checked once. Raises InvalidArgument with the path of each field."""

from __future__ import annotations

import hashlib

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.convert import filter_from_proto
from services.common.errors import InvalidArgument
from services.common.filters import ProductFilter, filter_violations
from services.common.limits import MAX_ID, MAX_QUERY
from services.gateway.domain.tokens import PageToken, fingerprint
from services.gateway.domain.viewer import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Viewer


def viewer_of_search(message: gateway_pb2.SearchRequest, token_key: str) -> Viewer:
    if len(message.query) > MAX_QUERY:
        raise InvalidArgument.of("query", f"has {len(message.query)} characters; send at most {MAX_QUERY}")
    if len(message.similar_to_id) > MAX_ID:
        raise InvalidArgument.of("similar_to_id", f"has {len(message.similar_to_id)} characters; send at most {MAX_ID}")
    if message.similar_to_id and message.image:
        raise InvalidArgument.of("similar_to_id", "is set together with image; send one of them")
    return _viewer(message, message.query, token_key)


def viewer_of_recommendation(message: gateway_pb2.RecommendRequest, token_key: str) -> Viewer:
    return _viewer(message, "", token_key)


def asked_of(message: gateway_pb2.ExplainItemRequest) -> gateway_pb2.SearchRequest | gateway_pb2.RecommendRequest:
    """The request to explain, without the fields that ExplainItem does not read."""
    require_id("item_id", message.item_id)
    if message.WhichOneof("asked") == "search":
        message.search.ClearField("facets")
        message.search.ClearField("page_token")
        return message.search
    if message.WhichOneof("asked") == "recommend":
        message.recommend.ClearField("page_token")
        return message.recommend
    raise InvalidArgument.of("asked", "is missing; send search or recommend")


def product_filter(message: product_pb2.ProductFilter, field: str) -> ProductFilter:
    narrowing = filter_from_proto(message, field)
    if violations := list(filter_violations(narrowing, field)):
        raise InvalidArgument(*violations)
    return narrowing


def require_id(field: str, id: str) -> None:
    if not 1 <= len(id) <= MAX_ID:
        raise InvalidArgument.of(field, f"has {len(id)} characters; send 1 to {MAX_ID}")


def require_ids(field: str, ids: list[str], limit: int) -> None:
    if not 1 <= len(ids) <= limit:
        raise InvalidArgument.of(field, f"holds {len(ids)}; send 1 to {limit}")
    for index, id in enumerate(ids):
        require_id(f"{field}[{index}]", id)


def require_one_person(user_id: str, visitor_id: str) -> None:
    """Exactly one of the two is set."""
    if user_id and visitor_id:
        raise InvalidArgument.of("visitor_id", "is set together with user_id; send exactly one of them")
    require_id("visitor_id" if visitor_id else "user_id", visitor_id or user_id)


def _viewer(message: gateway_pb2.SearchRequest | gateway_pb2.RecommendRequest, query: str, token_key: str) -> Viewer:
    for field in ("user_id", "visitor_id", "session_id"):
        value = getattr(message, field)
        if len(value) > MAX_ID:
            raise InvalidArgument.of(field, f"has {len(value)} characters; send at most {MAX_ID}")
    if message.page_size < 0:
        raise InvalidArgument.of("page_size", f"{message.page_size} is negative; send 1 to {MAX_PAGE_SIZE}")
    narrowing = product_filter(message.filter, "filter")
    of_request = _fingerprint(message)
    page = PageToken(of_request)
    if message.page_token:
        page = PageToken.decode(message.page_token, of_request, token_key)
    return Viewer(
        page, message.user_id, message.visitor_id, message.session_id, query, narrowing,
        min(message.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE), message.explain,
    )  # fmt: skip


def _fingerprint(message: gateway_pb2.SearchRequest | gateway_pb2.RecommendRequest) -> str:
    same, image = type(message)(), b""
    if isinstance(message, gateway_pb2.SearchRequest) and message.image:
        # A picture is hashed alone: copying and encoding megabytes would hold the event loop.
        image = hashlib.sha256(message.image).digest()
    for field, value in message.ListFields():
        if field.name in ("page_token", "page_size", "explain", "image"):
            continue
        if field.is_repeated:
            getattr(same, field.name).extend(value)
        elif field.message_type is not None:
            getattr(same, field.name).CopyFrom(value)
        else:
            setattr(same, field.name, value)
    return fingerprint(type(message).__name__, same.SerializeToString(deterministic=True), image)
