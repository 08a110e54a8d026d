"""Reads the words of the verifier: services/assistant/words, one file for each language."""

from __future__ import annotations

from pathlib import Path

from pydantic import RootModel

from services.assistant.domain.verification.words import Lexicon
from services.common.yaml_file import YamlFile

_FOLDER = Path(__file__).parents[1] / "words"


class _Lists(RootModel[dict[str, str | list[str]]]):
    """Phrases by the list; words of a text are one phrase each."""


def read_lexicons() -> dict[str, Lexicon]:
    """By language. Raises InvalidArgument."""
    files = sorted(_FOLDER.glob("*.yaml"))
    return {file.stem: _lexicon(file) for file in files}


def _lexicon(file: Path) -> Lexicon:
    lists = YamlFile.parse(file.read_text("utf-8"), file.name).read_as(_Lists).root
    return Lexicon(file.stem, lists)
