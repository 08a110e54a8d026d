"""The suite in one process with the assistant and the demo shop, as `benchmarks.assistant` and `benchmarks.safety`
measure it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc

from benchmarks.answer_checker import FaqText
from catalog.faq import read_faq
from catalog.imports import CatalogImport, Rejects
from catalog.mapping import parse_mapping
from catalog.rows import column_names
from demo.catalogue import write_catalogue
from demo.loading import FAQ, load_faq
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.telemetry import LogLevel

_OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]


def demo_catalogue(folder: Path) -> Path:
    """The catalogue of the demo shop as a file in `folder`."""
    path = folder / "catalogue.jsonl"
    if not path.is_file():
        write_catalogue(path)
    return path


def demo_faq() -> dict[str, FaqText]:
    """The FAQ of the demo shop by id, as its file has it."""
    entries = [read.entry for read in read_faq(FAQ) if read.problem is None]
    return {one.id: FaqText("\n".join([one.question, *one.alternative_questions]), one.answer) for one in entries}


def of_model(url: str) -> dict[str, Any]:
    """Settings of an assistant that asks the language model of an endpoint with OpenAI's API."""
    return {"model": {"endpoint": {"base_url": url, "model": "scripted"}}}


@contextlib.contextmanager
def assistant_suite(
    folder: Path,
    products: Path,
    mapping: str = "",
    *,
    with_faq: bool = True,
    settings: Mapping[str, Any] | None = None,
    log_level: LogLevel = "warning",
) -> Iterator[grpc.Channel]:
    """A channel to the gateway of a suite with these products, and with the demo shop's FAQ. The state in `folder` is
    used again. `settings`: of the assistant.
    """
    with in_process_suite(folder, assistant=settings, log_level=log_level) as suite:
        imported = folder / "imported"
        if not imported.is_file():
            connection = Connection(suite.gateway_target)
            columns = parse_mapping(mapping, column_names(products), "USD")
            CatalogImport(connection, columns, Rejects(folder / "rejects.jsonl")).run(products)
            if with_faq:
                load_faq(connection)
            imported.touch()
        with grpc.insecure_channel(suite.gateway_target, _OPTIONS) as channel:
            yield channel
