"""Lexicons in one SQLite file, which several replicas on one machine may share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from services.query_encoder.adapters.lexicon_records import REMEDY, record_of, terms_in, words_in
from services.query_encoder.domain.lexicon import MIN_PHRASE_PRODUCTS, SEQUENCES, Lexicon, Term, Terms, change_of
from services.query_encoder.domain.operator_words import PHRASE_OPERATORS

_SCHEMA = """
CREATE TABLE IF NOT EXISTS term (tenant TEXT, kind TEXT, text TEXT, count INTEGER,
                                 PRIMARY KEY (tenant, kind, text)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS product (tenant TEXT, id TEXT, record BLOB, PRIMARY KEY (tenant, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS version (tenant TEXT PRIMARY KEY, version INTEGER);
"""
_OPERATORS = ", ".join(f"'{word}'" for word in sorted(PHRASE_OPERATORS))
# Of phrases those that `is_read` says.
_READ = f"""
SELECT kind, text, count FROM term WHERE tenant = ? AND (
    kind NOT IN ('{"', '".join(SEQUENCES)}')
    OR count >= {MIN_PHRASE_PRODUCTS}
    OR text GLOB '* *' AND text NOT GLOB '* * *'
    OR substr(text, 1, instr(text, ' ') - 1) IN ({_OPERATORS})
    OR substr(text, instr(text, ' ') + 1) IN ({_OPERATORS})
)
"""
# Records that are read at once.
_PAGE = 1_000
_FILE = "terms.db"
# The file of the earlier layout. It did not know the products, so that nothing could be forgotten.
_EARLIER = "lexicon.db"
_log = structlog.get_logger("kairos.lexicon")


class SqliteLexiconStore:
    """With a write-ahead log: readers never wait for the writer, and a committed update survives a crash of the
    process.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        if (earlier := data_dir / _EARLIER).exists():
            _log.warning("words of an earlier layout are not read", file=str(earlier), remedy=REMEDY)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(data_dir / _FILE, timeout=10, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def read(self, tenant: str, known: Lexicon | None) -> Lexicon:
        with self._lock:
            version = self._version(tenant)
            if known is not None and known.version == version:
                return known
            counts: dict[str, dict[str, int]] = {}
            for kind, text, count in self._db.execute(_READ, (tenant,)):
                counts.setdefault(kind, {})[text] = count
        return Lexicon.counted(counts, version)

    def put(self, tenant: str, products: Mapping[str, Terms]) -> None:
        new = {id: record_of(terms) for id, terms in products.items()}
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                old = {id: self._record(tenant, id) for id in new}
                changed = [id for id in new if new[id] != old[id]]
                if changed:
                    change = change_of((terms_in(old[id]) for id in changed), (products[id] for id in changed))
                    self._count(tenant, change)
                    keep = [(tenant, id, new[id]) for id in changed if new[id]]
                    self._db.executemany("INSERT OR REPLACE INTO product VALUES (?, ?, ?)", keep)
                    gone = [(tenant, id) for id in changed if not new[id]]
                    self._db.executemany("DELETE FROM product WHERE tenant = ? AND id = ?", gone)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def words_of_products(self, tenant: str) -> Iterator[list[str]]:
        last = ""
        query = "SELECT id, record FROM product WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?"
        while True:
            # Page by page: an update waits for one page at most.
            with self._lock:
                page = self._db.execute(query, (tenant, last, _PAGE)).fetchall()
            for last, record in page:  # noqa: B007 - where the next page begins
                yield words_in(record)
            if len(page) < _PAGE:
                return

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _count(self, tenant: str, change: Mapping[Term, int]) -> None:
        add = "INSERT INTO term VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
        self._db.executemany(add, [(tenant, *term, more) for term, more in change.items()])
        remove = "DELETE FROM term WHERE tenant = ? AND kind = ? AND text = ? AND count <= 0"
        self._db.executemany(remove, [(tenant, *term) for term, more in change.items() if more < 0])
        raise_version = "INSERT INTO version VALUES (?, 1) ON CONFLICT DO UPDATE SET version = version + 1"
        self._db.execute(raise_version, (tenant,))

    def _record(self, tenant: str, id: str) -> bytes:
        row = self._db.execute("SELECT record FROM product WHERE tenant = ? AND id = ?", (tenant, id)).fetchone()
        return row[0] if row else b""

    def _version(self, tenant: str) -> int:
        row = self._db.execute("SELECT version FROM version WHERE tenant = ?", (tenant,)).fetchone()
        return int(row[0]) if row else 0
