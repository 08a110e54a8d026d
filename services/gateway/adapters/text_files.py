"""Reads the texts of a domain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.common.domain_folder import TEXTS, DomainFolder, general
from services.common.errors import FieldViolation, InvalidArgument
from services.common.yaml_file import YamlFile
from services.gateway.domain.texts import GROUPS, LANGUAGES, SENTENCES, DomainTexts, Texts, sentence_problem

_Text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=400)]


class _Language(BaseModel):
    model_config = ConfigDict(extra="forbid")

    groups: dict[str, _Text] = {}
    sentences: dict[str, _Text] = {}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    en: _Language = Field(default=_Language())
    zh: _Language = Field(default=_Language())


def load_texts(folder: Path | None) -> DomainTexts:
    """The texts of the domain in `folder`, by default retail; those that it leaves out are the general ones.

    Raises InvalidArgument that names the file and the line of each problem.
    """
    base, own = _read(general(TEXTS)), DomainFolder(folder).file(TEXTS)
    more = _read(own) if own is not None else _File()
    return DomainTexts(
        {
            language: Texts(
                language,
                getattr(base, language).groups | getattr(more, language).groups,
                getattr(base, language).sentences | getattr(more, language).sentences,
            )
            for language in LANGUAGES
        }
    )


def _read(file: YamlFile) -> _File:
    found = file.read_as(_File)
    if wrong := list(_problems(file, found)):
        raise InvalidArgument(*wrong)
    return found


def _problems(file: YamlFile, found: _File) -> Iterator[FieldViolation]:
    for language in LANGUAGES:
        texts: _Language = getattr(found, language)
        for group in texts.groups:
            if group not in GROUPS:
                yield file.wrong((language, "groups", group), f"is unknown; use {', '.join(GROUPS)}")
        for name, text in texts.sentences.items():
            problem = sentence_problem(name, text) if name in SENTENCES else f"is unknown; use {', '.join(SENTENCES)}"
            if problem:
                yield file.wrong((language, "sentences", name), problem)
