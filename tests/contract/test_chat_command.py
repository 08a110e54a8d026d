"""`kairos chat` against a gateway: what it sends, and what a terminal shows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
from typer.testing import CliRunner, Result

from cli.main import app
from kairos.assistant.v1 import assistant_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.errors import NotFound
from tests.contract.gateways import Running, running, stages
from tests.fakes.stages import product

__all__ = ["running", "stages"]  # fixtures


async def chat(running: Running, *arguments: str, typed: str = "") -> Result:
    command = ["--target", f"127.0.0.1:{running.gateway.port}", "chat", *arguments]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, command, input=typed))


def event(**fields: object) -> assistant_pb2.ConverseResponse:
    return assistant_pb2.ConverseResponse(**fields)  # type: ignore[arg-type]


def scripted() -> list[assistant_pb2.ConverseResponse]:
    """An answer with text, citation, a card and a question."""
    cited = assistant_pb2.Citation(product_id="p1", field="price", value="USD 10.00")
    card = assistant_pb2.ProductCard(product=product(1), position=1, price=pricing_pb2.PriceQuote())
    card.price.offer.currency_code, card.price.offer.units = "USD", 10
    chips = [assistant_pb2.AnswerChip(id=f"colour:{name}", text=name) for name in ("red", "blue")]
    return [
        event(begun=assistant_pb2.TurnBegun(conversation_id="c" * 22, turn_id="t")),
        event(segment=assistant_pb2.TextSegment(text="Product 1 costs USD 10.", citations=[cited])),
        event(products=assistant_pb2.ProductCards(cards=[card])),
        event(question=assistant_pb2.Question(text="Which colour?", field="attributes.colour", chips=chips)),
        event(ended=assistant_pb2.TurnEnded(language="en")),
    ]


async def test_what_a_terminal_shows(running: Running) -> None:
    """Text, citations, cards with prices and numbered chips; and how to go on."""
    running.stages.assistant.events = scripted()
    shown = (await chat(running, "shoes", "--visitor", "v", "--item", "p9")).output
    assert shown.splitlines()[:6] == [
        "Product 1 costs USD 10.", "  [p1 price: USD 10.00]", "  1. Product 1 USD 10.00 p1", "Which colour?",
        "  (1) red", "  (2) blue",
    ]  # fmt: skip
    assert f"--visitor v --conversation={'c' * 22}" in shown
    (asked,) = running.stages.assistant.requests
    assert (asked.utterance.text, list(asked.utterance.item_ids), asked.shopper.visitor_id) == ("shoes", ["p9"], "v")


async def test_a_conversation(running: Running) -> None:
    """The lines of standard input are turns of one conversation of one visitor; a number chooses a chip."""
    running.stages.assistant.events = scripted()
    done = await chat(running, typed="shoes\n2\n7\n")
    assert done.exit_code == 0
    first, second, third = running.stages.assistant.requests
    assert (first.conversation_id, second.conversation_id) == ("", "c" * 22)
    assert (second.utterance.chip_id, third.utterance.text) == ("colour:blue", "7")
    assert len({asked.shopper.visitor_id for asked in (first, second, third)} - {""}) == 1


async def test_as_json(running: Running) -> None:
    """One JSON document in a line for each event."""
    running.stages.assistant.events = scripted()
    lines = (await chat(running, "shoes", "--json")).stdout.splitlines()
    assert [next(iter(json.loads(line))) for line in lines] == ["begun", "segment", "products", "question", "ended"]


async def test_a_recording(running: Running, tmp_path: Path) -> None:
    """A recording that cannot be heard is a sentence; one option without the other is a usage error."""
    recording = tmp_path / "x.wav"
    recording.write_bytes(b"no sound")
    done = await chat(running, "--speech", str(recording), "--speech-model", str(tmp_path))
    assert (done.exit_code, "is no WAV file" in done.output.replace("\n", "")) == (1, True)
    assert (await chat(running, "--speech", str(recording))).exit_code == 2
    assert not running.stages.assistant.requests


async def test_an_error(running: Running) -> None:
    """A refusal is a sentence, and exit code 1; a hand-over is named."""
    running.stages.assistant.refusal = NotFound("there is no conversation 'x'")
    done = await chat(running, "shoes", "--conversation", "x")
    assert done.exit_code == 1
    assert grpc.StatusCode.NOT_FOUND.name in done.output
    await running.stages.worsen("assistant", "down")
    assert "A person takes over (no answer)." in (await chat(running, "shoes")).output
