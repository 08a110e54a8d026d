"""A domain: a folder with what queries and texts for shoppers depend on. Retail is the one that comes with Kairos.

    concepts.yaml         the concept graph                      query encoder
    stop_words.yaml       words that say nothing                 query encoder
    courtesy_words.yaml   words that a person asks with          query encoder
    conditions.yaml       what a query may filter                query encoder
    intents.yaml          rules for intents and sentiments       query encoder
    texts.yaml            texts of explanations                  gateway

A folder may leave files out. The folder `general` has stop words and courtesy words, to which a domain adds its own,
and texts, which a domain replaces one by one. Without the other files there are no concepts, conditions and rules.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from services.common.errors import FieldViolation, InvalidArgument
from services.common.yaml_file import MAX_BYTES, YamlFile

CONCEPTS, STOP_WORDS, COURTESY_WORDS, CONDITIONS, INTENTS, TEXTS = FILES = (
    "concepts.yaml", "stop_words.yaml", "courtesy_words.yaml", "conditions.yaml", "intents.yaml", "texts.yaml",
)  # fmt: skip
_EMBEDDED = files("services.common") / "domains"


class DomainFolder:
    """The files of one domain. `folder` None: retail.

    Raises InvalidArgument for a folder without any of the files, and for a file of another name.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder: Traversable = _EMBEDDED / "retail" if folder is None else folder
        self.name = "retail" if folder is None else str(folder)
        if not self._folder.is_dir():
            raise InvalidArgument.of("domain_dir", f"{self.name} is not a folder; name a folder with {_listed()}")
        names = sorted(file.name for file in self._folder.iterdir() if file.name.endswith((".yaml", ".yml")))
        if unknown := [name for name in names if name not in FILES]:
            raise InvalidArgument(
                *(FieldViolation(f"{self.name}/{name}", f"is no file of a domain; use {_listed()}") for name in unknown)
            )
        if not names:
            raise InvalidArgument.of("domain_dir", f"{self.name} has none of {_listed()}; add one")

    def file(self, name: str) -> YamlFile | None:
        """None if the domain leaves it out. Raises InvalidArgument."""
        return _read(self._folder / name, f"{self.name}/{name}")


def general(name: str) -> YamlFile:
    """The file of `general`."""
    found = _read(_EMBEDDED / "general" / name, f"general/{name}")
    if found is None:
        raise KeyError(name)
    return found


def read_yaml(path: Path) -> YamlFile:
    """Raises InvalidArgument."""
    found = _read(path, str(path))
    if found is None:
        raise InvalidArgument.of(str(path), "is not a file; correct the path")
    return found


def _read(path: Traversable, name: str) -> YamlFile | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidArgument.of(name, f"is larger than {MAX_BYTES >> 20} MiB; make it smaller")
    try:
        return YamlFile.parse(data.decode("utf-8-sig"), name)
    except UnicodeDecodeError:
        raise InvalidArgument.of(name, "is not UTF-8; save it as UTF-8") from None


def _listed() -> str:
    return ", ".join(FILES)
