"""AssistantService: parse, converse, wrap."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping

from kairos.assistant.v1 import assistant_pb2, assistant_pb2_grpc
from services.assistant.assistant import Assistant
from services.assistant.convert import event_to_proto, shopper_from_proto, utterance_from_proto
from services.assistant.events import Ended, Segment
from services.assistant.metrics import Counts
from services.assistant.ports import Caller
from services.common.convert import context_from_proto
from services.common.errors import InvalidArgument
from services.common.limits import id_problem
from services.common.rpc import rpc_stream


class AssistantHandler(assistant_pb2_grpc.AssistantServiceServicer):
    """`turn_s`: seconds of a turn whose call has no deadline."""

    def __init__(self, assistant: Assistant, turn_s: float) -> None:
        self._assistant, self._turn_s = assistant, turn_s
        self.counts = Counts()

    @rpc_stream(assistant_pb2.ConverseResponse)
    async def Converse(
        self, request: assistant_pb2.ConverseRequest, metadata: Mapping[str, str]
    ) -> AsyncIterator[assistant_pb2.ConverseResponse]:
        began_s = time.monotonic()
        context = context_from_proto(request.context)
        if problem := id_problem(request.conversation_id, required=False):
            raise InvalidArgument.of("conversation_id", problem)
        shopper, utterance = shopper_from_proto(request.shopper), utterance_from_proto(request.utterance)
        deadline_s = min(context.deadline_s or float("inf"), began_s + self._turn_s)
        caller = Caller(context.request_id, context.tenant, shopper, deadline_s, metadata.get("authorization", ""))
        is_first = True
        async for event in self._assistant.converse(caller, request.conversation_id, utterance):
            if isinstance(event, Segment) and is_first:
                self.counts.first_words_s.append(time.monotonic() - began_s)
                is_first = False
            if isinstance(event, Ended):
                self.counts.ended(event)
            yield event_to_proto(event)
