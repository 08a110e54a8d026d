"""What a backup saves, what a restore refuses, and that a refused restore changes nothing."""

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
from services.control.adapters.parquet_archive import ParquetArchive
from services.control.adapters.sql_audit_store import SqlAuditStore
from services.control.adapters.sql_store import SqlControlStore
from services.control.domain.audit import Entry, EntryKind
from services.control.domain.changes import Author, create
from services.control.domain.resources import Key
from services.pricing.learning.settings import LEARNING_FOLDER
from services.pricing.learning.sqlite_store import SqliteDemandStore
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.ranker.adapters.sqlite_schema import PROFILES_FILE, RANKINGS_FILE, VERSION
from services.ranker.adapters.sqlite_store import SqliteProfileStore


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of a suite: a database with an open transaction, a model, and files that are no state."""
    state = tmp_path / "var"
    for name in ("pricing", "models/search/1", "logs", "run"):
        (state / name).mkdir(parents=True)
    with closing(sqlite3.connect(state / "pricing" / "outbox.db")) as db:
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
    with closing(sqlite3.connect(state / "pricing" / "outbox.db")) as db:
        return [row[0] for row in db.execute("SELECT id FROM quote")]


def edited(backup: Path, **fields: Any) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    (backup / "manifest.json").write_text(json.dumps(manifest | fields))


def test_state_is_restored(state: Path, tmp_path: Path) -> None:
    """Databases and models are restored to another folder; logs are not saved."""
    kairos("backup", tmp_path / "b", "--data-dir", state)
    kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new")
    assert quotes(tmp_path / "new") == ["q1"]
    assert (tmp_path / "new/models/search/1/weights").read_bytes() == b"w" * 100_000
    assert not (tmp_path / "new/logs").exists()


def test_what_people_decided_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database of control is restored while control runs; its TLS keys, and those of its clients, are not saved."""
    (tmp_path / "var" / "control").mkdir(parents=True)
    for name in ("certificate", "key"):
        (tmp_path / name).write_text("secret")
        monkeypatch.setenv(f"KAIROS_CONTROL_SECURITY__{name.upper()}", str(tmp_path / name))
        monkeypatch.setenv(f"KAIROS_PRICING_CONTROL__{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("KAIROS_PRICING_CONTROL__CA", str(tmp_path / "certificate"))
    key, content = Key("synonym_set", "coats"), {"words": ["coat", "jacket"]}

    def store(folder: str) -> SqlControlStore:
        return SqlControlStore(f"sqlite:///{tmp_path / folder / 'control' / 'control.db'}")

    with closing(store("var")) as control:
        control.change("default", lambda view: create(view, key, content, Author("anna", 1)))
        kairos("backup", tmp_path / "b", "--data-dir", tmp_path / "var")
    kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new")
    with closing(store("new")) as control:
        assert control.resource("default", key) is not None
    assert [path.name for path in (tmp_path / "b").iterdir() if path.is_dir()] == ["control.data_dir"]


def test_what_is_on_record_is_saved(tmp_path: Path) -> None:
    """The audit and its archive are restored, while control records."""
    archive = tmp_path / "var" / "control" / "audit_archive"
    archive.mkdir(parents=True)
    (archive / "2026-12-01T15-0123.parquet").write_bytes(b"archived")
    (archive / "2026-12-01T16-4567.parquet.draft").write_bytes(b"half of a file")
    entry = Entry(EntryKind.PRICE_QUOTE, "q1", 1_800_000_000_000_000, "p1", "r1", b"content")

    def store(folder: str) -> SqlAuditStore:
        return SqlAuditStore(f"sqlite:///{tmp_path / folder / 'control' / 'audit.db'}", ParquetArchive("", {}))

    with closing(store("var")) as audit:
        audit.record("default", [entry])
        kairos("backup", tmp_path / "b", "--data-dir", tmp_path / "var")
    kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new")
    with closing(store("new")) as audit:
        assert audit.entry("default", EntryKind.PRICE_QUOTE, "q1") == entry
    restored = tmp_path / "new" / "control" / "audit_archive"
    assert [path.name for path in restored.iterdir()] == ["2026-12-01T15-0123.parquet"]


def test_what_pricing_learns_from_is_saved(tmp_path: Path) -> None:
    """The counts are saved while the price publisher runs; its own state, which it keeps locked, is not."""
    folder = tmp_path / "var" / "price_publisher"
    with (
        closing(SqlitePublisherState(folder)),
        closing(SqliteDemandStore(folder / LEARNING_FOLDER, "UTC", 86_400.0)) as store,
    ):
        key = store.key("user", "u")
        kairos("backup", tmp_path / "b", "--data-dir", tmp_path / "var")
    assert [path.name for path in (tmp_path / "b").iterdir() if path.is_dir()] == ["price_publisher.learning"]
    kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new")
    restored = tmp_path / "new" / "price_publisher" / LEARNING_FOLDER
    with closing(SqliteDemandStore(restored, "UTC", 86_400.0)) as store:
        assert store.key("user", "u") == key


def test_a_model_in_another_folder_is_saved(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and files in the settings of a service are saved; a restore needs settings that name their places."""
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


def test_existing_files_are_replaced_only_by_force(state: Path, tmp_path: Path) -> None:
    """A backup or state that exists is replaced only with --force, and then completely."""
    kairos("backup", tmp_path / "b", "--data-dir", state)
    kairos("backup", tmp_path / "b", "--data-dir", state, code=2)
    kairos("backup", tmp_path / "b", "--data-dir", state, "--force")
    with closing(sqlite3.connect(state / "pricing" / "outbox.db")) as db:
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
    """Damage is found before the first file is replaced."""
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
    """A later format, later vectors and later tables are refused, each with its name."""
    kairos("backup", tmp_path / "b", "--data-dir", state)
    edited(tmp_path / "b", format=2, something_new=1)
    assert "format 2" in kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new", code=2).output
    (tmp_path / "b" / "manifest.json").unlink()
    assert "is not a backup" in kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new", code=2).output
    kairos("backup", tmp_path / "b", "--data-dir", state, "--force")
    edited(tmp_path / "b", qdrant_edge="99.0.0")
    assert "99.0.0" in kairos("restore", tmp_path / "b", "--data-dir", tmp_path / "new", code=2).output
    with closing(sqlite3.connect(state / "pricing" / "outbox.db")) as db:
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


def test_a_backup_at_a_url(state: Path, tmp_path: Path) -> None:
    """A URL has the same refusals: existing files are replaced only with --force, and a manifest is needed."""
    store = (tmp_path / "store").as_uri()
    kairos("backup", f"{store}/monday", "--data-dir", state)
    kairos("backup", f"{store}/monday", "--data-dir", state, code=2)
    kairos("backup", f"{store}/monday", "--data-dir", state, "--force")
    kairos("restore", f"{store}/monday", "--data-dir", tmp_path / "new")
    assert quotes(tmp_path / "new") == ["q1"]
    assert (tmp_path / "new/models/search/1/weights").read_bytes() == b"w" * 100_000
    assert "nothing at" in kairos("restore", f"{store}/tuesday", "--data-dir", tmp_path / "other", code=2).output
    (tmp_path / "store/monday/manifest.json").unlink()
    assert "is not a backup" in kairos("restore", f"{store}/monday", "--data-dir", tmp_path / "other", code=2).output
    assert "nosuch://" in kairos("backup", "nosuch://bucket/monday", "--data-dir", state, code=2).output


def test_a_skipped_part(state: Path, tmp_path: Path) -> None:
    """A part named by --skip is neither saved nor restored; an unknown part is refused."""
    kairos("backup", tmp_path / "b", "--data-dir", state, "--skip", "query_encoder.model_cache_dir")
    assert [path.name for path in (tmp_path / "b").iterdir() if path.is_dir()] == ["pricing.data_dir"]
    kairos("backup", tmp_path / "all", "--data-dir", state)
    kairos("restore", tmp_path / "all", "--data-dir", tmp_path / "new", "--skip", "pricing.data_dir")
    assert not (tmp_path / "new/pricing").exists()
    assert (tmp_path / "new/models/search/1/weights").exists()
    refused = kairos("backup", tmp_path / "c", "--data-dir", state, "--skip", "nothing", code=2)
    assert "no part nothing" in refused.output


def test_a_suite_without_state(tmp_path: Path) -> None:
    """A folder without state is refused."""
    assert "has no state" in kairos("backup", tmp_path / "b", "--data-dir", tmp_path / "typo", code=2).output
    assert not (tmp_path / "b").exists()


def test_sparse_files(tmp_path: Path) -> None:
    """A sparse file is sparse in the backup too."""
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
        file.truncate(16 << 20)
    copy_file(tmp_path / "sparse", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "sparse").read_bytes()
    assert os.stat(tmp_path / "copy").st_blocks * 512 < 1 << 20


def test_a_folder_that_always_changes(tmp_path: Path) -> None:
    """A folder whose files change during each attempt is refused."""
    (tmp_path / "source").mkdir()
    # Long enough to read for the writer to get its turn.
    with (tmp_path / "source" / "large").open("wb") as file:
        file.truncate(32 << 20)
    stop = threading.Event()

    def write() -> None:
        # Always the same bytes of the file: a file that grew could be copied for as long as it grows.
        with (tmp_path / "source" / "file").open("wb", buffering=0) as file:
            while not stop.is_set():
                file.seek(0)
                file.write(b"x" * 1_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(Failed, match="changed during"):
            copy_settled_folder(tmp_path / "source", tmp_path / "copy")
    finally:
        stop.set()
        writer.join()


def test_a_backup_inside_the_saved_folder(state: Path) -> None:
    """A backup inside the folder that it saves is refused."""
    result = kairos("backup", state / "models" / "backup", "--data-dir", state, code=1)
    assert "into itself" in result.output.replace("\n", " ")
