"""The gateway over gRPC, with the key of the caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from kairos.gateway.v1 import conversation_pb2, faq_pb2, gateway_pb2
from kairos.ranker.v1 import conversation_pb2 as stored_pb2
from services.assistant.convert import state_from_proto, state_to_proto
from services.assistant.convert_shop import (
    degradations_from_proto,
    faq_from_proto,
    found_from_proto,
    item_of_product,
    item_of_result,
    request_of,
)
from services.assistant.domain.shop import FaqAnswer, Found, Item
from services.assistant.ports import Caller, NewTurn, PastTurn, Query, StoredConversation
from services.common.convert import money_from_proto
from services.common.errors import (
    Aborted,
    FieldViolation,
    InvalidArgument,
    KairosError,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from services.common.limits import MAX_QUERY
from services.common.money import Money
from services.common.rpc import DETAILS_KEY

Response = TypeVar("Response", bound=Message)

_SERVICE = "/kairos.gateway.v1.GatewayService/"
_SIMILAR = "similar-items"
_PASSED_ON: dict[grpc.StatusCode, type[KairosError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
}
# Fields of a search that the shopper of the conversation sets.
_OF_SHOPPER = ("user_id", "visitor_id", "session_id", "locale", "price_list_id", "currency_code", "place_id")


class GrpcShop:
    """`call_s`: seconds that one call may take; less if the turn has less."""

    def __init__(self, channel: grpc.aio.Channel, call_s: float) -> None:
        self._channel, self._call_s = channel, call_s
        self._methods: dict[str, Any] = {}

    async def close(self) -> None:
        await self._channel.close()

    async def search(self, caller: Caller, query: Query) -> Found:
        return found_from_proto(
            await self._call("Search", request_of(query, caller.shopper), gateway_pb2.SearchResponse, caller)
        )

    async def similar(self, caller: Caller, item_id: str, size: int, locale: str) -> Found:
        shopper = caller.shopper
        request = gateway_pb2.RecommendRequest(
            user_id=shopper.user_id, visitor_id=shopper.visitor_id, session_id=shopper.session_id, locale=locale,
            page_size=size, price_list_id=shopper.price_list_id, currency_code=shopper.currency_code,
            place_id=shopper.place_id, placement=_SIMILAR, item_ids=[item_id],
            sponsored=gateway_pb2.SPONSORED_MODE_OFF,
        )  # fmt: skip
        request.filter.in_stock_only = True
        answer = await self._call("Recommend", request, gateway_pb2.RecommendResponse, caller)
        items = tuple(item_of_result(result, answer.attribution_token) for result in answer.results)
        return Found(items, degradations=tuple(degradations_from_proto(answer.degradations)))

    async def products(self, caller: Caller, ids: Sequence[str], locale: str) -> list[Item]:
        quotes, *answers = await asyncio.gather(
            self._quotes(caller, ids), *(self._product(caller, id) for id in ids)
        )  # fmt: skip
        return [item_of_product(one, quotes.get(one.product.id)) for one in answers if one is not None]

    async def prices(self, caller: Caller, ids: Sequence[str]) -> Mapping[str, Money]:
        quotes = await self._quotes(caller, ids)
        return {id: money_from_proto(quote.offer, "quotes.offer") for id, quote in quotes.items()}

    async def ask_faq(self, caller: Caller, question: str, locale: str) -> FaqAnswer | None:
        request = faq_pb2.AskFaqRequest(question=question[:MAX_QUERY], locale=locale)
        answer = await self._call("AskFaq", request, faq_pb2.AskFaqResponse, caller)
        return faq_from_proto(answer.answer) if answer.HasField("answer") else None

    async def conversation(self, caller: Caller, conversation_id: str) -> StoredConversation:
        request = conversation_pb2.GetConversationRequest(
            conversation_id=conversation_id, **_owner(caller)
        )  # fmt: skip
        answer = await self._call("GetConversation", request, conversation_pb2.GetConversationResponse, caller)
        stored = answer.conversation
        turns = [PastTurn(turn.utterance, turn.answer) for turn in stored.turns]
        return StoredConversation(turns, state_from_proto(stored.state), stored.turn_count)

    async def append_turn(self, caller: Caller, turn: NewTurn) -> None:
        stored = stored_pb2.ConversationTurn(
            id=turn.turn_id, utterance=turn.utterance, answer=turn.answer, shown_item_ids=turn.shown
        )
        stored.time.GetCurrentTime()
        request = conversation_pb2.AppendTurnRequest(
            conversation_id=turn.conversation_id, turn=stored, turn_count=turn.turn_count,
            state=state_to_proto(turn.dialogue).SerializeToString(), **_owner(caller),
        )  # fmt: skip
        await self._call("AppendTurn", request, conversation_pb2.AppendTurnResponse, caller)

    async def _product(self, caller: Caller, id: str) -> gateway_pb2.GetProductResponse | None:
        try:
            request = gateway_pb2.GetProductRequest(id=id)
            return await self._call("GetProduct", request, gateway_pb2.GetProductResponse, caller)
        except NotFound:
            return None

    async def _quotes(self, caller: Caller, ids: Sequence[str]) -> Mapping[str, Any]:
        if not ids:
            return {}
        shopper = caller.shopper
        request = gateway_pb2.QuotePricesRequest(
            product_ids=ids, price_list_id=shopper.price_list_id, place_id=shopper.place_id
        )
        answer = await self._call("QuotePrices", request, gateway_pb2.QuotePricesResponse, caller)
        return {quote.item_id: quote for quote in answer.quotes}

    async def _call(self, method: str, request: Message, response: type[Response], caller: Caller) -> Response:
        call = self._methods.get(method)
        if call is None:
            call = self._methods[method] = self._channel.unary_unary(
                f"{_SERVICE}{method}", type(request).SerializeToString, response.FromString
            )
        left_s = caller.deadline_s - time.monotonic()
        if left_s <= 0:
            raise Unavailable(f"no time is left to call {method}")
        metadata = [("x-request-id", caller.request_id)] if caller.request_id else []
        if caller.authorization:
            metadata.append(("authorization", caller.authorization))
        try:
            answer: Response = await call(request, timeout=min(left_s, self._call_s), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise _described(error, method) from error
        return answer


def _owner(caller: Caller) -> dict[str, str]:
    """A conversation belongs to the user, else to the visitor."""
    shopper = caller.shopper
    return {"user_id": shopper.user_id} if shopper.user_id else {"visitor_id": shopper.visitor_id}


def _described(error: grpc.aio.AioRpcError, method: str) -> KairosError:
    code, details = error.code(), error.details() or ""
    if code in _PASSED_ON:
        return _PASSED_ON[code](details)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidArgument(*_violations(error, method))
    if code is grpc.StatusCode.ABORTED:
        return Aborted(details, {})
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Overloaded(details, 1.0)
    return Unavailable(f"{method}: {code.name}: {details}"[:300])


def _violations(error: grpc.aio.AioRpcError, method: str) -> list[FieldViolation]:
    """The wrong fields, by their names in the conversation's request."""
    found = list[FieldViolation]()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                bad = error_details_pb2.BadRequest()
                if detail.Unpack(bad):
                    found += [FieldViolation(_named(one.field), one.description) for one in bad.field_violations]
    return found or [FieldViolation(method, error.details() or "")]


def _named(field: str) -> str:
    return f"shopper.{field}" if field in _OF_SHOPPER else field
