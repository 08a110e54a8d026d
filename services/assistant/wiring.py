"""Builds the assistant from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from random import Random
from typing import Any

from services.assistant.adapters.grpc_orders import GrpcOrders
from services.assistant.adapters.grpc_shop import GrpcShop
from services.assistant.adapters.safety_files import read_safety
from services.assistant.assistant import Assistant
from services.assistant.domain.clarification import Chooser, best_question, no_question, random_question
from services.assistant.domain.intents import Rules
from services.assistant.domain.texts import Texts
from services.assistant.domain.vocabulary import Vocabulary
from services.assistant.flows.categories import Categories
from services.assistant.flows.turn import Tools
from services.assistant.handler import AssistantHandler
from services.assistant.model_wiring import BuiltWriter, build_writer, names_of
from services.assistant.ports import Safety, Writer
from services.assistant.settings import AssistantSettings
from services.assistant.template_writer import TemplateWriter
from services.common.domain_folder import CONCEPTS, INTENTS, DomainFolder
from services.common.yaml_file import YamlFile

# A page of products with the longest descriptions.
_OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


@dataclass(frozen=True)
class WiredAssistant:
    """A working handler with what it uses."""

    handler: AssistantHandler
    writer: BuiltWriter
    closers: tuple[Callable[[], Awaitable[None]], ...]

    def measures(self) -> dict[str, float]:
        """By the name of the metric."""
        return self.handler.counts.measures() | self.writer.measures()

    async def close(self) -> None:
        for close in self.closers:
            await close()


def build_assistant(
    settings: AssistantSettings, writer: Writer | None = None, safety: Safety | None = None
) -> WiredAssistant:
    """Needs a running event loop. `writer` and `safety`: those of the settings, unless others are given. Raises
    InvalidArgument for a domain, rules or a model that cannot be read.
    """
    shop = GrpcShop(settings.gateway.connect_async(_OPTIONS), settings.gateway.timeout_s)
    closers: list[Callable[[], Awaitable[None]]] = [shop.close]
    orders = None
    if settings.orders.target:
        orders = GrpcOrders(settings.orders.connect_async(), settings.orders.metadata, settings.orders.timeout_s)
        closers.append(orders.close)
    vocabulary, rules, texts = read_language(DomainFolder(settings.domain_dir))
    categories = Categories(shop, vocabulary)
    tools = Tools(shop, orders, categories, rules, vocabulary, _chooser(settings), settings.answers.cards)
    built = build_writer(settings.model, writer or TemplateWriter(), names_of(vocabulary, texts))
    closers.append(built.close)
    assistant = Assistant(tools, texts, built.writer, safety or read_safety(settings.safety_dir))
    return WiredAssistant(AssistantHandler(assistant, settings.turn_s), built, tuple(closers))


def read_language(folder: DomainFolder) -> tuple[Vocabulary, Rules, dict[str, Texts]]:
    """Names of values, rules and texts, with those of the domain."""
    concepts, intents = folder.file(CONCEPTS), folder.file(INTENTS)
    vocabulary = Vocabulary.read(concepts.content if concepts else {})
    rules = Rules.read(_own("rules.yaml"), intents.content if intents else {})
    return vocabulary, rules, Texts.read(_own("texts.yaml"), vocabulary)


def _own(name: str) -> Any:
    return YamlFile.parse((files("services.assistant") / name).read_text("utf-8"), f"assistant/{name}").content


def _chooser(settings: AssistantSettings) -> Chooser:
    choosers = {"information": best_question, "random": random_question(Random()), "none": no_question}
    return choosers[settings.answers.questions]
