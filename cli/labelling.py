"""Chooses queries for `kairos label suggest`, and writes them in the form that training reads."""

from __future__ import annotations

import csv
import os
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from catalog.rows import FileRefused
from cli.queries import read_query_rows
from services.common.limits import MAX_QUERY
from services.common.settings import load_settings
from services.query_encoder.adapters.domain_files import load_domain
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.adapters.understanding_files import load_understander
from services.query_encoder.bulk_reading import BulkReader
from services.query_encoder.domain.labelling import ASKED, Choice, most_helpful, questions
from services.query_encoder.domain.text import normal_form
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder

COLUMNS = ("query", "head", "label", "guess", "confidence", "count")
# Queries that are considered, the most frequent ones.
_MAX_QUERIES = 20_000
# Queries with a lower cosine are called not similar.
_SIMILAR = 0.5


def choose(
    model: Path, folder: Path, tenant: str, asked: Mapping[str, int], known: Mapping[str, int], count: int,
    heads: Sequence[str],
) -> list[Choice]:  # fmt: skip
    """`asked`: how often each query was sent. `known`: queries that have a label. The queries are read in the same way
    as by the query encoder of the suite in `folder`.

    Raises ValueError if the folder has no model, and for an unknown head.
    """
    if wrong := set(heads) - set(ASKED):
        raise ValueError(f"head {wrong.pop()!r} is unknown; use {', '.join(ASKED)}")
    heads = heads or ASKED
    # As the suite in `folder` reads them: its folders, unless the environment names others.
    folders = {"data_dir": folder / "query_encoder", "model_cache_dir": folder / "models"}
    prefix = QueryEncoderSettings.model_config.get("env_prefix", "")
    settings = load_settings(
        QueryEncoderSettings,
        {name: path for name, path in folders.items() if f"{prefix}{name.upper()}" not in os.environ},
    )
    encoder = build_encoder(settings, settings.threads)
    domain = load_domain(settings.domain_dir, settings.concepts_file, settings.extra_concepts_file)
    understander = load_understander(model, domain, encoder.model_version)
    with closing(SqliteLexiconStore(settings.data_dir)) as lexicons:
        reader = BulkReader(encoder, domain, lexicons.read(tenant, None), settings)
    texts = [query for query, _ in Counter(asked).most_common(_MAX_QUERIES) if query not in known]
    found = [
        question
        for text, query in zip(texts, reader.read(texts), strict=True)
        for question in questions(understander, query.reading, query.vector, asked[text], heads)
    ]
    features = [understander.features(query.reading, query.vector) for query in reader.read(list(known))]
    return most_helpful(found, count, dict.fromkeys(heads, features))


def read_queries(path: Path) -> dict[str, int]:
    """How often each query was sent, by its normal form. Raises FileRefused."""
    counts: Counter[str] = Counter()
    for text, times in read_query_rows(path):
        if normal := normal_form(text[:MAX_QUERY]):
            counts[normal] += times
    return dict(counts)


def searched_for(database: Path, tenant: str) -> dict[str, int]:
    """How often each query was sent, by the impressions that the suite stored. Raises FileRefused if it stored none."""
    if not database.is_file():
        raise FileRefused(
            f"{database} does not exist: give a file with --queries, or the folder of the suite with --data-dir"
        )
    counts: Counter[str] = Counter()
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as log:
        rows = log.execute(
            "SELECT query, COUNT(DISTINCT ranking_id) FROM impressions WHERE tenant = ? AND query != '' GROUP BY query",
            (tenant,),
        )
        for text, times in rows:
            if normal := normal_form(text):
                counts[normal] += times
    return dict(counts)


def write(path: Path, choices: Sequence[Choice]) -> None:
    """The column `label` is empty: a person fills it in."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for choice in choices:
            asked = choice.question
            writer.writerow([asked.query, asked.head, "", asked.guess, f"{asked.confidence:.3f}", asked.count])


def table(choices: Sequence[Choice]) -> Table:
    rows = Table("query", "head", "guess", "confidence", "why", box=None, pad_edge=False)
    for choice in choices:
        asked = choice.question
        rows.add_row(
            escape(asked.query), asked.head, escape(asked.guess), f"{asked.confidence:.2f}", escape(why(choice))
        )
    return rows


def why(choice: Choice) -> str:
    asked = choice.question
    parts = [
        f"{asked.second} {asked.second_confidence:.2f} is nearly as probable"
        if asked.uncertainty > 0.8
        else f"or {asked.second} {asked.second_confidence:.2f}"
    ]
    if asked.count > 1:
        parts.append(f"sent {asked.count} times")
    if choice.similarity < _SIMILAR:
        parts.append("not similar to the others")
    return ", ".join(parts)
