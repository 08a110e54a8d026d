"""What a backup takes along, what a restore refuses, and that it touches nothing before it knows."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from ops.backup.files import Failed, copy_file, copy_settled_folder
from services.ranker.adapters.sqlite_schema import PROFILES_FILE, RANKINGS_FILE, VERSION
from services.ranker.adapters.sqlite_store import SqliteProfileStore


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A suite's folder: a database with uncommitted work beside it, a model, and things that are of no account."""
    state = tmp_path / "var"
    for name in ("pricing", "models/search/1", "logs", "run"):
        (state / name).mkdir(parents=True)
    with closing(sqlite3.connect(state / "pricing" / "audit.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE quote (id TEXT)")
        db.execute("INSERT INTO quote VALUES ('q1')")
        db.commit()
    (state / "models" / "search" / "1" / "weights").write_bytes(b"w" * 100_000)
    (state / "logs" / "gateway.log").write_text("line\n")
    return state


def kairos(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def quotes(state: Path) -> list[str]:
    with closing(sqlite3.connect(state / "pricing" / "audit.db")) as db:
        return [row[0] for row in db.execute("SELECT id FROM quote")]


def edited(backup: Path, **fields: Any) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    (backup / "manifest.json").write_text(json.dumps(manifest | fields))


def test_what_a_suite_keeps_comes_back(state: Path, tmp_path: Path) -> None:
    """Databases and models go into another folder; logs do not."""
    kairos("backup", tmp_path / "b", "--data-dir", state)
    kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new")
    assert quotes(tmp_path / "new") == ["q1"]
    assert (tmp_path / "new/models/search/1/weights").read_bytes() == b"w" * 100_000
    assert not (tmp_path / "new/logs").exists()


def test_a_model_elsewhere_is_taken_along(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and files that a service's settings name belong to the backup; a restore asks where they shall lie."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "model").write_text("m")
    (tmp_path / "words.yaml").write_text("products: {}")
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_IMAGE_MODEL_DIR", str(tmp_path / "pictures"))
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_EXTRA_CONCEPTS_FILE", str(tmp_path / "words.yaml"))
    kairos("backup", tmp_path / "b", "--data-dir", state)
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_EXTRA_CONCEPTS_FILE", str(tmp_path / "new.yaml"))
    monkeypatch.delenv("KAIROS_QUERY_ENCODER_IMAGE_MODEL_DIR")
    refused = kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new", code=2)
    assert "KAIROS_QUERY_ENCODER_IMAGE_MODEL_DIR" in refused.output
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_IMAGE_MODEL_DIR", str(tmp_path / "new pictures"))
    kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new")
    assert (tmp_path / "new.yaml").read_text() == "products: {}"
    assert (tmp_path / "new pictures" / "model").read_text() == "m"


def test_nothing_is_overwritten_unasked(state: Path, tmp_path: Path) -> None:
    """Folders with something in them, a backup's or a suite's, are replaced by --force alone, and then wholly."""
    kairos("backup", tmp_path / "b", "--data-dir", state)
    kairos("backup", tmp_path / "b", "--data-dir", state, code=2)
    kairos("backup", tmp_path / "b", "--data-dir", state, "--force")
    with closing(sqlite3.connect(state / "pricing" / "audit.db")) as db:
        db.execute("INSERT INTO quote VALUES ('after the backup')")
        db.commit()
    (state / "models" / "new").write_text("after the backup")
    kairos("restore", tmp_path / "b", "--data-dir", state, code=2)
    assert len(quotes(state)) == 2
    kairos("restore", tmp_path / "b", "--data-dir", state, "--force")
    assert quotes(state) == ["q1"]
    assert not (state / "models" / "new").exists()


@pytest.mark.parametrize("damage", ["changed", "missing", "half a manifest"])
def test_a_damaged_backup_changes_nothing(state: Path, tmp_path: Path, damage: str) -> None:
    """It is found before the first file is replaced."""
    kairos("backup", tmp_path / "b", "--data-dir", state)
    weights = tmp_path / "b" / "query_encoder.model_cache_dir" / "search" / "1" / "weights"
    if damage == "changed":
        weights.write_bytes(b"w" * 99_999 + b"x")
    elif damage == "missing":
        weights.unlink()
    else:
        text = (tmp_path / "b" / "manifest.json").read_text()
        (tmp_path / "b" / "manifest.json").write_text(text[: len(text) // 2])
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    refused = kairos("restore", tmp_path / "b", "--data-dir", state, "--force", code=2)
    assert "damaged" in refused.output
    assert {path: path.read_bytes() for path in before} == before


def test_a_backup_of_a_later_version_is_refused(state: Path, tmp_path: Path) -> None:
    """A later format, later vectors and later tables are each told by name."""
    kairos("backup", tmp_path / "b", "--data-dir", state)
    edited(tmp_path / "b", format=2, something_new=1)
    assert "format 2" in kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new", code=2).output
    (tmp_path / "b" / "manifest.json").unlink()
    assert "no backup" in kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new", code=2).output
    kairos("backup", tmp_path / "b", "--data-dir", state, "--force")
    edited(tmp_path / "b", qdrant_edge="99.0.0")
    assert "99.0.0" in kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new", code=2).output
    with closing(sqlite3.connect(state / "pricing" / "audit.db")) as db:
        db.execute("PRAGMA user_version=9")
    kairos("backup", tmp_path / "b", "--data-dir", state, "--force")
    assert "version 9" in kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new", code=2).output
    assert not (tmp_path / "new" / "pricing").exists()


def test_a_backup_of_an_earlier_layout_is_refused(state: Path, tmp_path: Path) -> None:
    """A profile store with tables of another version is refused before anything is touched, with the remedy."""
    SqliteProfileStore(state / "ranker").close()
    kairos("backup", tmp_path / "b", "--data-dir", state)
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    (saved,) = (file for part in manifest["parts"] for file in part["files"] if file["path"].endswith(PROFILES_FILE))
    assert saved["schema_version"] == VERSION
    saved["schema_version"] = 2
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    result = kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new", code=2)
    assert "tables of version 2" in " ".join(result.output.split())
    assert "kairos events import" in " ".join(result.output.split())
    assert not (tmp_path / "new" / "ranker").exists()


def test_what_expires_is_left_out(state: Path, tmp_path: Path) -> None:
    """Stored rankings are in no backup, and a restore removes those that are there."""
    SqliteProfileStore(state / "ranker").close()
    for folder in (state, tmp_path / "new"):
        (folder / "ranker").mkdir(parents=True, exist_ok=True)
        (folder / "ranker" / RANKINGS_FILE).write_bytes(b"expires")
    kairos("backup", tmp_path / "b", "--data-dir", state)
    assert not list((tmp_path / "b").rglob(RANKINGS_FILE))
    kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new")
    assert (tmp_path / "new" / "ranker" / PROFILES_FILE).exists()
    assert not (tmp_path / "new" / "ranker" / RANKINGS_FILE).exists()


def test_a_backup_goes_to_a_url_and_comes_back(state: Path, tmp_path: Path) -> None:
    """The same refusals hold there: nothing is overwritten unasked, and what lacks its manifest is no backup."""
    store = (tmp_path / "store").as_uri()
    kairos("backup", f"{store}/monday", "--data-dir", state)
    kairos("backup", f"{store}/monday", "--data-dir", state, code=2)
    kairos("backup", f"{store}/monday", "--data-dir", state, "--force")
    kairos("restore", f"{store}/monday", "--data-dir", tmp_path / "new")
    assert quotes(tmp_path / "new") == ["q1"]
    assert (tmp_path / "new/models/search/1/weights").read_bytes() == b"w" * 100_000
    assert "nothing at" in kairos("restore", f"{store}/tuesday", "--data-dir", tmp_path / "other", code=2).output
    (tmp_path / "store/monday/manifest.json").unlink()
    assert "no backup" in kairos("restore", f"{store}/monday", "--data-dir", tmp_path / "other", code=2).output
    assert "nosuch://" in kairos("backup", "nosuch://bucket/monday", "--data-dir", state, code=2).output


def test_a_part_is_left_alone(state: Path, tmp_path: Path) -> None:
    """What --skip names is neither saved nor brought back; a part that there is not is told."""
    kairos("backup", tmp_path / "b", "--data-dir", state, "--skip", "query_encoder.model_cache_dir")
    assert [path.name for path in (tmp_path / "b").iterdir() if path.is_dir()] == ["pricing.data_dir"]
    kairos("backup", tmp_path / "all", "--data-dir", state)
    kairos("restore", tmp_path / "all", "--data-dir", tmp_path / "new", "--skip", "pricing.data_dir")
    assert not (tmp_path / "new/pricing").exists()
    assert (tmp_path / "new/models/search/1/weights").exists()
    refused = kairos("backup", tmp_path / "c", "--data-dir", state, "--skip", "nothing", code=2)
    assert "no part nothing" in refused.output


def test_an_empty_suite_is_no_backup(tmp_path: Path) -> None:
    """A wrong --data-dir is told, not saved."""
    assert "nothing in" in kairos("backup", tmp_path / "b", "--data-dir", tmp_path / "typo", code=2).output
    assert not (tmp_path / "b").exists()


def test_holes_stay_holes(tmp_path: Path) -> None:
    """A file that is mostly holes takes no more room in the backup."""
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
        file.truncate(16 << 20)
    copy_file(tmp_path / "sparse", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "sparse").read_bytes()
    assert os.stat(tmp_path / "copy").st_blocks * 512 < 1 << 20


def test_a_folder_that_never_rests_is_told(tmp_path: Path) -> None:
    """Files that change from one attempt to the next are no copy of one moment."""
    (tmp_path / "source").mkdir()
    # Long enough to read for the writer to get its turn.
    with (tmp_path / "source" / "large").open("wb") as file:
        file.truncate(32 << 20)
    stop = threading.Event()

    def write() -> None:
        with (tmp_path / "source" / "file").open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"x" * 1_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(Failed, match="written to"):
            copy_settled_folder(tmp_path / "source", tmp_path / "copy")
    finally:
        stop.set()
        writer.join()


def test_a_backup_inside_of_what_it_saves_is_refused(state: Path) -> None:
    """It would hold itself, without an end."""
    result = kairos("backup", state / "models" / "backup", "--data-dir", state, code=1)
    assert "into itself" in result.output.replace("\n", " ")
