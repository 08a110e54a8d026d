"""Reads the files of a domain that the query encoder needs. Each file is checked before it is used."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, RootModel, StringConstraints

from services.common.domain_folder import CONDITIONS, COURTESY_WORDS, INTENTS, STOP_WORDS, DomainFolder, general
from services.common.yaml_file import YamlFile
from services.query_encoder.adapters.concept_files import load_graph
from services.query_encoder.domain.concepts import ConceptKind
from services.query_encoder.domain.conditions import AttributeCondition, Conditions
from services.query_encoder.domain.lexicon import LONGEST_NAME
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.text import normal_form
from services.query_encoder.domain.understanding_rules import IntentRules

# Of one file: stop words, attributes, values with other words of one attribute, patterns of one list. Characters.
_MAX_WORDS, _MAX_ATTRIBUTES, _MAX_VALUES, _MAX_PATTERNS, _MAX_PATTERN = 2_000, 32, 1_000, 200, 1_000


def load_domain(
    folder: Path | None, concepts_file: Path | None = None, extra_concepts_file: Path | None = None
) -> QueryDomain:
    """The domain in `folder`, by default retail; concepts as in `load_graph`.

    Raises InvalidArgument that names the file and the line of each problem.
    """
    if folder is None and concepts_file is None and extra_concepts_file is None:
        return embedded_domain()
    return _read(DomainFolder(folder), concepts_file, extra_concepts_file)


@lru_cache(maxsize=1)
def embedded_domain() -> QueryDomain:
    """Retail, the domain that comes with Kairos. It is read once in a process."""
    return _read(DomainFolder(), None, None)


def _read(folder: DomainFolder, concepts_file: Path | None, extra_concepts_file: Path | None) -> QueryDomain:
    conditions, intents = folder.file(CONDITIONS), folder.file(INTENTS)
    own_stop_words = _words_of(folder.file(STOP_WORDS))
    return QueryDomain(
        load_graph(folder, concepts_file, extra_concepts_file),
        conditions.read_as(_Conditions).conditions() if conditions else Conditions(),
        intents.read_as(_Intents).rules() if intents else IntentRules(),
        own_stop_words | _words_of(general(STOP_WORDS)),
        own_stop_words,
        _words_of(general(COURTESY_WORDS)) | _words_of(folder.file(COURTESY_WORDS)),
    )


def _words_of(file: YamlFile | None) -> frozenset[str]:
    return frozenset(file.read_as(_WordList).root if file else ())


def _short(word: str) -> str:
    normal = normal_form(word)
    if not normal:
        raise ValueError("is empty; write a word")
    if len(normal.split()) > LONGEST_NAME:
        raise ValueError(f"has more than {LONGEST_NAME} words; queries are only searched for shorter phrases")
    return normal


def _pattern(text: Any) -> re.Pattern[str]:
    if not isinstance(text, str) or len(text) > _MAX_PATTERN:
        raise ValueError(f"is no text of at most {_MAX_PATTERN} characters; put it in quotes or split it")
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


# A word or short phrase in its normal form.
_Word = Annotated[str, StringConstraints(strict=True, max_length=48), AfterValidator(_short)]
_Pattern = Annotated[re.Pattern[str], BeforeValidator(_pattern)]
_Patterns = Annotated[list[_Pattern], Field(max_length=_MAX_PATTERNS)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _WordList(RootModel[list[_Word]]):
    root: Annotated[list[_Word], Field(max_length=_MAX_WORDS)]


class _Attribute(_File):
    concepts: ConceptKind | None = Field(default=None, strict=False)
    words: dict[_Word, list[_Word]] = Field(default={}, max_length=_MAX_VALUES)

    def condition(self, attribute: str) -> AttributeCondition:
        values: dict[str, list[str]] = {}
        for value, words in self.words.items():
            for word in words:
                values.setdefault(word, []).append(value)
        return AttributeCondition(attribute, {word: tuple(of) for word, of in values.items()}, self.concepts)


class _Conditions(_File):
    prices: bool = False
    brands: bool = False
    categories: bool = True
    attributes: dict[Annotated[str, StringConstraints(min_length=1, max_length=64)], _Attribute | None] = Field(
        default={}, max_length=_MAX_ATTRIBUTES
    )

    def conditions(self) -> Conditions:
        attributes = (one or _Attribute() for one in self.attributes.values())
        return Conditions(
            self.prices, self.brands, self.categories,
            tuple(one.condition(name) for name, one in zip(self.attributes, attributes, strict=True)),
        )  # fmt: skip


class _NamesOnly(_File):
    not_: _Patterns = Field(default=[], alias="not")
    joining: list[_Word] = []


class _Intents(_File):
    intents: dict[Literal["browse", "advice", "order", "chat"], _Patterns] = {}
    sentiments: dict[Literal["positive", "negative"], _Patterns] = {}
    names_only: _NamesOnly = _NamesOnly()
    values: _Patterns = []

    def rules(self) -> IntentRules:
        intents: dict[str, _Patterns] = {str(name): found for name, found in self.intents.items()}
        sentiments: dict[str, _Patterns] = {str(name): found for name, found in self.sentiments.items()}
        return IntentRules(intents, sentiments, self.names_only.not_, self.names_only.joining, self.values)
