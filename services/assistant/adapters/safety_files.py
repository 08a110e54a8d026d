"""Reads the rules of what may be said: one YAML file for each language."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from services.assistant.domain.safety import CHINESE, ENGLISH, KINDS, RulesOfSafety, SafetyRule
from services.common.errors import InvalidArgument
from services.common.yaml_file import YamlFile

_FOLDER = Path(__file__).parents[1] / "safety"


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(min_length=1, max_length=500)
    hands_over: bool = False
    patterns: list[str] = Field(default=[], max_length=500)
    ordinary: list[str] = Field(default=[], alias="except", max_length=500)

    @field_validator("patterns", "ordinary")
    @classmethod
    def _compiles(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return patterns


class _Rules(RootModel[dict[str, _Rule]]):
    @field_validator("root")
    @classmethod
    def _known(cls, rules: dict[str, _Rule]) -> dict[str, _Rule]:
        if unknown := sorted(rules.keys() - set(KINDS)):
            raise ValueError(f"{unknown[0]!r} is no kind; the kinds are {', '.join(KINDS)}")
        return rules


def read_safety(folder: Path | None) -> RulesOfSafety:
    """`folder` may have en.yaml and zh.yaml; a language without a file there has the built-in rules. Raises
    InvalidArgument.
    """
    if folder is not None and not folder.is_dir():
        raise InvalidArgument.of("safety_dir", f"{folder} is no folder; make it, or leave the setting out")
    return RulesOfSafety({language: _read(language, folder) for language in (ENGLISH, CHINESE)})


def _read(language: str, folder: Path | None) -> dict[str, SafetyRule]:
    name = f"{language}.yaml"
    own = folder / name if folder else None
    file = own if own and own.is_file() else _FOLDER / name
    rules = YamlFile.parse(file.read_text("utf-8"), file.name).read_as(_Rules).root
    return {
        kind: SafetyRule(kind, " ".join(rule.text.split()), rule.hands_over, tuple(rule.patterns), tuple(rule.ordinary))
        for kind, rule in rules.items()
    }
