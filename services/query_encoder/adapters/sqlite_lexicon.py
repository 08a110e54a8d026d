"""Lexicons in one SQLite file, which several replicas on one machine may share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from services.query_encoder.domain.lexicon import COUNTED, MAX_ATTRIBUTES, MAX_VALUES, Lexicon, LexiconUpdate
from services.query_encoder.domain.operator_words import PHRASE_OPERATORS

_SCHEMA = """
CREATE TABLE IF NOT EXISTS word (tenant TEXT, word TEXT, count INTEGER, PRIMARY KEY (tenant, word)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS phrase (tenant TEXT, phrase TEXT, count INTEGER, PRIMARY KEY (tenant, phrase)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS branded (tenant TEXT, branded TEXT, count INTEGER,
                                    PRIMARY KEY (tenant, branded)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS untitled (tenant TEXT, untitled TEXT, count INTEGER,
                                     PRIMARY KEY (tenant, untitled)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS companions (tenant TEXT, companions TEXT, count INTEGER,
                                       PRIMARY KEY (tenant, companions)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS described (tenant TEXT, described TEXT, count INTEGER,
                                      PRIMARY KEY (tenant, described)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS name (tenant TEXT, kind TEXT, normal TEXT, value TEXT,
                                 PRIMARY KEY (tenant, kind, normal)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS version (tenant TEXT PRIMARY KEY, version INTEGER);
"""
# By the field of a lexicon: its table.
_TABLES = {name: name for name in COUNTED} | {"words": "word", "phrases": "phrase"}
# Most phrases occur in one title only and are not useful: they stay in the file. See lexicon.is_evidence.
_READ_PHRASES = f"""
WITH known (name) AS (
    SELECT normal FROM name WHERE tenant = ?1 AND (kind = 'brands' OR kind = 'colours' OR kind GLOB 'values:*')
    UNION VALUES {", ".join(f"('{word}')" for word in sorted(PHRASE_OPERATORS))}
)
SELECT phrase, count FROM phrase WHERE tenant = ?1 AND (
    count > 1
    OR substr(phrase, 1, instr(phrase, ' ') - 1) IN (SELECT name FROM known)
    OR substr(phrase, instr(phrase, ' ') + 1) IN (SELECT name FROM known)
)
"""
_ADD = "ON CONFLICT DO UPDATE SET count = count + excluded.count"
_KINDS = ("brands", "categories")
# The kind of an attribute's values is this and its name. Files of earlier versions have the kind "colours" instead.
_VALUES, _OLD_COLOURS = "values:", "colours"


class SqliteLexiconStore:
    """With a write-ahead log: readers never wait for the writer, and a committed update survives a crash of the
    process.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(data_dir / "lexicon.db", timeout=10, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
        with self._lock:
            version = self._version(tenant)
            if known is not None and known.version == version:
                return known
            lexicon = Lexicon(version=version)
            for name in COUNTED:
                table = _TABLES[name]
                query = f"SELECT {table}, count FROM {table} WHERE tenant = ?1"
                counts = self._db.execute(_READ_PHRASES if name == "phrases" else query, (tenant,))
                getattr(lexicon, name).update(counts)
            for kind in _KINDS:
                rows = self._db.execute("SELECT normal, value FROM name WHERE tenant = ? AND kind = ?", (tenant, kind))
                getattr(lexicon, kind).update(rows)
            for kind, normal, value in self._db.execute(
                "SELECT kind, normal, value FROM name WHERE tenant = ? AND (kind = ? OR kind GLOB ?)",
                (tenant, _OLD_COLOURS, f"{_VALUES}*"),
            ):
                attribute = "colour" if kind == _OLD_COLOURS else kind.removeprefix(_VALUES)
                lexicon.values.setdefault(attribute, {})[normal] = value
            return lexicon

    def add(self, tenant: str, update: LexiconUpdate) -> None:
        names = [(tenant, kind, normal, value) for kind in _KINDS for normal, value in getattr(update, kind).items()]
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for name in COUNTED:
                    insert = f"INSERT INTO {_TABLES[name]} VALUES (?, ?, ?) {_ADD}"
                    rows = [(tenant, text, count) for text, count in getattr(update, name).items()]
                    self._db.executemany(insert, rows)
                names += self._values(tenant, update)
                self._db.executemany("INSERT OR REPLACE INTO name VALUES (?, ?, ?, ?)", names)
                self._db.execute(
                    "INSERT INTO version VALUES (?, 1) ON CONFLICT DO UPDATE SET version = version + 1", (tenant,)
                )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _values(self, tenant: str, update: LexiconUpdate) -> Iterator[tuple[str, str, str, str]]:
        """The rows of the values that still have room."""
        query = "SELECT kind, count(*) FROM name WHERE tenant = ? AND kind GLOB ? GROUP BY kind"
        counts: dict[str, int] = dict(self._db.execute(query, (tenant, f"{_VALUES}*")))
        for attribute, values in update.values.items():
            kind = _VALUES + attribute
            if kind not in counts and len(counts) >= MAX_ATTRIBUTES:
                continue
            room = MAX_VALUES - counts.setdefault(kind, 0)
            yield from ((tenant, kind, normal, value) for normal, value in list(values.items())[: max(room, 0)])

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _version(self, tenant: str) -> int:
        row = self._db.execute("SELECT version FROM version WHERE tenant = ?", (tenant,)).fetchone()
        return int(row[0]) if row else 0
