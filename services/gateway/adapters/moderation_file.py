"""Moderation rules from YAML files: the embedded one, and a shop's own."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import InvalidArgument
from services.common.visibility import MAX_MARKETS, Outcome, market_problem
from services.common.yaml_file import MAX_BYTES, YamlFile
from services.gateway.domain.moderation.rules import Category, Phrases, Rule, Rules

_FILE = "moderation"
_OutcomeName = Literal["pass", "review", "block"]
_Phrase = Annotated[str, Field(min_length=1, max_length=64)]
# Phrases of one list; rules of a category; categories.
_Phrases = Annotated[list[_Phrase], Field(max_length=2_000)]
_Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,31}$")]
_Markets = Annotated[dict[str, _OutcomeName], Field(max_length=MAX_MARKETS)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Rule(_Part):
    any: Annotated[_Phrases, Field(min_length=1)]
    also: _Phrases = Field(default=[], alias="with")
    unless: _Phrases = []
    outcome: _OutcomeName | None = None
    markets: _Markets = {}
    title_only: bool = False


class _Category(_Part):
    outcome: _OutcomeName
    adults_only: bool = False
    title_only: bool = False
    markets: _Markets = {}
    unless: _Phrases = []
    rules: Annotated[list[_Rule], Field(max_length=200)] = []


class _Document(_Part):
    version: str = Field(min_length=1, max_length=64)
    categories: Annotated[dict[_Name, _Category], Field(max_length=32)]


@lru_cache(maxsize=1)
def embedded_rules() -> Rules:
    """Those that come with Kairos."""
    return _parsed((files("services.gateway") / "moderation.yaml").read_text("utf-8"), "moderation.yaml")


def load_rules(file: Path | None) -> Rules:
    """The categories of `file`, and the embedded ones that it does not have. Raises InvalidArgument."""
    if file is None:
        return embedded_rules()
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise InvalidArgument.of(_FILE, f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument.of(_FILE, f"{file} is not UTF-8; save it as UTF-8") from None
    own = _parsed(text, file.name)
    names = {category.name for category in own.categories}
    return Rules(own.version, [*own.categories, *(one for one in embedded_rules().categories if one.name not in names)])


def _parsed(text: str, name: str) -> Rules:
    document = YamlFile.parse(text, name).read_as(_Document)
    return Rules(document.version, [_category(name, each) for name, each in document.categories.items()])


def _category(name: str, read: _Category) -> Category:
    rules = [
        Rule(
            Phrases.of(rule.any), Phrases.of(rule.also), Phrases.of([*rule.unless, *read.unless]),
            Outcome[rule.outcome.upper()] if rule.outcome else None, _markets(name, rule.markets),
            rule.title_only,
        )
        for rule in read.rules
    ]  # fmt: skip
    markets = _markets(name, read.markets)
    return Category(name, Outcome[read.outcome.upper()], tuple(rules), markets, read.adults_only, read.title_only)


def _markets(category: str, markets: dict[str, _OutcomeName]) -> tuple[tuple[str, Outcome], ...]:
    for market in markets:
        if problem := market_problem(market):
            raise InvalidArgument.of(f"{_FILE}.categories.{category}.markets", problem)
    return tuple((market, Outcome[outcome.upper()]) for market, outcome in markets.items())
