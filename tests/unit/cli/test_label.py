"""`kairos label suggest`."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from catalog.rows import FileRefused
from cli.labelling import read_queries, searched_for
from cli.main import app
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.query_encoder.adapters.understanding_files import save_understanding
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.impressions import Impressions
from tests.fakes.understanding import LABELS, network
from tests.unit.ranker.rankings import made_ranking
from training.understanding.labels import read_labels


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The folder of the suite, in whose registry a version is current."""
    likely = network(
        384, intent={"find": 0.4, "advice": 0.35}, category={"Home > Mugs": 0.9}, sentiment={"neutral": 0.9}
    )
    registry = ModelRegistry(tmp_path / "ranker" / "models" / "default" / "understanding")
    about = {"encoder": QueryEncoderSettings().model_version}
    registry.publish(lambda folder: save_understanding(likely, LABELS, folder, about), {"created_s": 1.0})
    registry.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
    return tmp_path


def suggest(*arguments: str) -> Result:
    # The exported encoder is found where the other tests keep it.
    cache = str(QueryEncoderSettings().model_cache_dir.resolve())
    command = ["label", "suggest", *arguments]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200", "KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR": cache})


def test_from_queries_to_labels(suite: Path, tmp_path: Path) -> None:
    """The CSV has query, head, guess and confidence; after labels are filled in, training reads it."""
    (tmp_path / "queries.csv").write_text("query,count\nsomething for the weekend,9\nwhere is my order,50\n")
    out = tmp_path / "labels.csv"
    result = suggest(
        "--queries", str(tmp_path / "queries.csv"), "--out", str(out), "--head", "intent",
        "--data-dir", str(suite),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "something for the weekend" in result.stdout
    assert "sent 9 times" in result.stdout
    (row,) = csv.DictReader(out.open())
    assert (row["query"], row["head"], row["label"], row["guess"]) == (
        "something for the weekend",
        "intent",
        "",
        "find",
    )
    assert float(row["confidence"]) == pytest.approx(0.4, abs=0.01)
    assert read_labels(out, LABELS.category, 1.0) == []
    out.write_text(out.read_text().replace("intent,,find", "intent,advice,find"))
    assert [example.intent for example in read_labels(out, LABELS.category, 1.0)] == ["advice"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--queries", "none.csv"], "none.csv is not a file"),
        ([], "--queries"),
        (["--queries", "q.txt", "--head", "mood"], "'mood'"),
        (["--queries", "q.txt", "--version", "understanding/0007"], "there are understanding/0001"),
        (["--queries", "q.txt", "--tenant", "other"], "no version is current"),
    ],
)
def test_what_cannot_be_read(suite: Path, tmp_path: Path, arguments: list[str], problem: str) -> None:
    """Unreadable input gives exit code 2 and the remedy; nothing is written."""
    (tmp_path / "q.txt").write_text("mug\n")
    paths = [str(tmp_path / a) if a in ("none.csv", "q.txt") else a for a in arguments]
    result = suggest("--out", str(tmp_path / "out.csv"), "--data-dir", str(suite), *paths)
    assert result.exit_code == 2
    assert problem in result.output.replace("\n", "")
    assert not (tmp_path / "out.csv").exists()


def test_queries_of_a_file(tmp_path: Path) -> None:
    """Queries are read from lines, from rows with a count and from events; spellings with the same normal form are one
    query.
    """
    lines, rows, events = tmp_path / "a.txt", tmp_path / "a.csv", tmp_path / "a.jsonl"
    lines.write_text("Red Mug\n\nred  mug\n牛仔裤\n")
    rows.write_text("query,count\nred mug,7\nboots,\n")
    events.write_text('{"query": "red mug", "type": "search"}\n{"type": "click", "item_id": "1"}\n')
    assert read_queries(lines) == {"red mug": 2, "牛仔裤": 1}
    assert read_queries(rows) == {"red mug": 7, "boots": 1}
    assert read_queries(events) == {"red mug": 1}
    rows.write_text("text\nmug\n")
    with pytest.raises(FileRefused, match="no column 'query'"):
        read_queries(rows)


def test_queries_of_the_suite(tmp_path: Path) -> None:
    """Each ranking of the tenant counts once, for any number of items and pages; browsing does not count."""
    store = SqliteProfileStore(tmp_path)
    shown = [("r1", "red mug", [1, 2, 3]), ("r1", "red mug", [4]), ("r2", "Red mug", [1]), ("r3", "", [1])]
    for ranking, query, positions in shown:
        items = [f"p{position}" for position in positions]
        entry = Impressions(replace(made_ranking(*items, ranking=ranking), query=query), positions, 1.0)
        store.record_impressions("default", [entry])
        store.record_impressions("other", [entry])
    assert searched_for(tmp_path / "profiles.db", "default") == {"red mug": 2}
    assert searched_for(tmp_path / "profiles.db", "nobody") == {}
    store.close()
