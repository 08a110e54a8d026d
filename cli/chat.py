"""`kairos chat`: a conversation with the assistant, as the gateway streams it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import grpc
import typer
from google.protobuf.json_format import MessageToJson
from rich.console import Console
from rich.markup import escape

from cli.calls import connection_of, failed, out
from cli.options import Json, Locale, Place, PriceList, Session, User, Visitor
from cli.render import money_text, print_degradations
from cli.speech import NotHeard, heard
from kairos.assistant.v1 import assistant_pb2
from kairos.gateway.v1 import conversation_pb2, gateway_pb2_grpc
from ops.client import explain_error

# A turn takes seconds, not the milliseconds of a search: the gateway's own budget is the default.
_TURN_S = 15.0

Events = Iterable[assistant_pb2.ConverseResponse]


def chat(
    context: typer.Context,
    said: Annotated[
        str, typer.Argument(metavar="[UTTERANCE]", help="What to say. Empty: a line each, until end of input.")
    ] = "",
    user: User = "",
    visitor: Visitor = "",
    session: Session = "",
    conversation: Annotated[str, typer.Option(help="Id of a conversation to go on with. Empty: a new one.")] = "",
    chip: Annotated[str, typer.Option(help="Id of an answer chip to choose in place of an utterance.")] = "",
    item: Annotated[list[str], typer.Option(help="Id of a product beside the conversation. May be repeated.")] = [],  # noqa: B006
    speech: Annotated[
        Path | None, typer.Option(help="WAV file with what to say; needs --speech-model. At most 30 seconds.")
    ] = None,
    speech_model: Annotated[
        Path | None, typer.Option(help="Folder with a speech model of transformers, for example a Whisper.")
    ] = None,
    locale: Locale = "",
    price_list: PriceList = "",
    currency: Annotated[str, typer.Option(help="Currency of the prices. Empty: all currencies.")] = "",
    place: Place = "",
    as_json: Json = False,
) -> None:
    """Talk to the assistant: one utterance, or a conversation. A number chooses an answer chip."""
    if (speech is None) != (speech_model is None):
        raise typer.BadParameter("go together; give both or none", param_hint="--speech, --speech-model")
    shopper = assistant_pb2.Shopper(
        # A conversation of nobody is not stored, so that no answer could refer to the one before.
        user_id=user, visitor_id=visitor or ("" if user else f"chat-{uuid.uuid4().hex[:12]}"), session_id=session,
        locale=locale, price_list_id=price_list, currency_code=currency, place_id=place,
    )  # fmt: skip
    connection, offered = connection_of(context), list[assistant_pb2.AnswerChip]()
    with connection.stub() as stub:
        for utterance in _utterances(said, chip, offered, speech, speech_model):
            utterance.item_ids.extend(item)
            message = conversation_pb2.ConverseRequest(
                conversation_id=conversation, shopper=shopper, utterance=utterance
            )
            try:
                events = list(printed(out, turn(stub, message, connection.metadata), as_json))
            except grpc.RpcError as error:
                raise failed(explain_error(error)) from None
            conversation = next((event.begun.conversation_id for event in events if event.HasField("begun")), "")
            offered[:] = [each for event in events for each in event.question.chips]
    if said and conversation and not as_json:
        whose = f"--user {user}" if user else f"--visitor {shopper.visitor_id}"
        out.print(f"[dim]go on: kairos chat {whose} --conversation={conversation}", soft_wrap=True)


def turn(
    stub: gateway_pb2_grpc.GatewayServiceStub,
    message: conversation_pb2.ConverseRequest,
    metadata: tuple[tuple[str, str], ...] = (),
) -> Iterator[assistant_pb2.ConverseResponse]:
    """The events of one turn, as they come. Raises grpc.RpcError."""
    for response in stub.Converse(message, timeout=_TURN_S, metadata=metadata):
        yield response.event


def printed(console: Console, events: Events, as_json: bool = False) -> Iterator[assistant_pb2.ConverseResponse]:
    """The same events; each is printed when it comes."""
    for event in events:
        if as_json:
            print(MessageToJson(event, preserving_proto_field_name=True, ensure_ascii=False, indent=None))
        else:
            print_event(console, event)
        yield event


def print_event(console: Console, event: assistant_pb2.ConverseResponse) -> None:
    """Text with its citations, cards, the question with numbered chips, a hand-over, degradations."""
    match event.WhichOneof("event"):
        case "segment":
            console.print(escape(event.segment.text), highlight=False)
            for citation in event.segment.citations:
                console.print(f"  [dim]{escape(citation_text(citation))}", highlight=False)
        case "products":
            for card in event.products.cards:
                price = money_text(card.price.offer) if card.HasField("price") else "–"
                console.print(
                    f"  {card.position}. {escape(card.product.title)} [bold]{price}[/] [dim]{escape(card.product.id)}",
                    highlight=False,
                )
        case "question":
            console.print(f"[bold]{escape(event.question.text)}")
            for number, chip in enumerate(event.question.chips, start=1):
                console.print(f"  ({number}) {escape(chip.text)}", highlight=False)
        case "hand_over":
            reason = assistant_pb2.HandOverReason.Name(event.hand_over.reason).removeprefix("HAND_OVER_REASON_")
            console.print(f"[yellow]A person takes over ({reason.lower().replace('_', ' ')}).")
        case "ended":
            if event.ended.transcript:
                console.print(f"[dim]heard: {escape(event.ended.transcript)}", highlight=False)
            print_degradations(console, event.ended.degradations)


def citation_text(citation: assistant_pb2.Citation) -> str:
    """For example "[jeans-0001 price: USD 39.90]"."""
    source = citation.product_id or citation.order_id or f"FAQ {citation.faq_id} v{citation.faq_version}"
    field = f" {citation.field}" if citation.field else ""
    value = f": {citation.value}" if citation.value else ""
    return f"[{source}{field}{value}]"


def _utterances(
    said: str, chip: str, offered: Sequence[assistant_pb2.AnswerChip], speech: Path | None, model: Path | None
) -> Iterator[assistant_pb2.Utterance]:
    """One, or the lines of standard input; a line that is a number chooses one of `offered` at that moment."""
    if speech is not None and model is not None:
        try:
            yield assistant_pb2.Utterance(transcripts=heard(speech, model))
        except NotHeard as error:
            raise failed(str(error)) from None
        return
    if said or chip:
        yield assistant_pb2.Utterance(text=said, chip_id=chip)
        return
    while True:
        if sys.stdin.isatty():
            out.print("[bold cyan]> ", end="")
        line = sys.stdin.readline()
        if not line:
            return
        text = line.strip()
        if text.isdecimal() and 1 <= int(text) <= len(offered):
            yield assistant_pb2.Utterance(chip_id=offered[int(text) - 1].id)
        elif text:
            yield assistant_pb2.Utterance(text=text)
