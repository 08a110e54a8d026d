"""Builds the writer of answers from the settings of the language model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from services.assistant.adapters.word_files import read_lexicons
from services.assistant.domain.texts import Texts
from services.assistant.domain.verification.subjects import Names
from services.assistant.domain.vocabulary import Vocabulary
from services.assistant.model_settings import ModelSettings
from services.assistant.model_writer import ModelWriter
from services.assistant.ports import LanguageModel, Writer


async def _nothing() -> None:
    return None


@dataclass(frozen=True)
class BuiltWriter:
    """`model` is None where templates write alone. `measures`: by the name of the metric."""

    writer: Writer
    model: ModelWriter | None = None
    close: Callable[[], Awaitable[None]] = _nothing

    def measures(self) -> dict[str, float]:
        model = self.model
        return {
            "kairos_assistant_model_answers": model.answers if model else 0,
            "kairos_assistant_model_fallbacks": model.fallbacks if model else 0,
        }


def names_of(vocabulary: Vocabulary, texts: Mapping[str, Texts]) -> Names:
    """Names of values in both languages, and of attributes as the templates call them."""

    def names(value: str) -> list[str]:
        shown = [text.names[value] for text in texts.values() if value in text.names]
        return [*sorted(vocabulary.names(value)), *shown]

    return names


def build_writer(settings: ModelSettings, templates: Writer, names: Names = lambda value: ()) -> BuiltWriter:
    """The templates, and the language model in front of them if one is set. Raises InvalidArgument."""
    model: LanguageModel
    # Imported only where it is used: the client of endpoints takes a second, torch three.
    if settings.endpoint.base_url:
        from services.assistant.adapters.openai_model import OpenAIModel

        endpoint = OpenAIModel(settings.endpoint)
        model, close = endpoint, endpoint.close
    elif settings.local.folder:
        from services.assistant.adapters.local_model import LocalModel

        local = LocalModel(settings.local)
        model, close = local, local.close
    else:
        return BuiltWriter(templates)
    writer = ModelWriter(model, read_lexicons(), templates, names)
    return BuiltWriter(writer, writer, close)
