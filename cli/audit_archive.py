"""Reads entries from the archive of the audit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from kairos.control.v1 import audit_pb2
from services.common.context import DEFAULT_TENANT
from services.common.errors import InvalidArgument
from services.control.price_decision import decision_of
from services.control.quoted_price import quote_of


class AuditArchive:
    """`place`: a folder, or a URL that pyarrow knows. Raises InvalidArgument if it cannot be read."""

    def __init__(self, place: str, tenant: str) -> None:
        # Imported here: pyarrow takes a second.
        from pyarrow.fs import FileSelector, FileSystem

        self._tenant = tenant or DEFAULT_TENANT
        try:
            self._store, path = FileSystem.from_uri(place if "://" in place else str(Path(place).resolve()))
            found = self._store.get_file_info(FileSelector(path.rstrip("/")))
        except (OSError, ValueError) as error:
            raise InvalidArgument.of("--archive", f"{place!r} cannot be read: {error}") from None
        # The hour comes first in a name: the newest hour first.
        self._files = sorted((each.path for each in found if each.path.endswith(".parquet")), reverse=True)

    def quote(self, quote_id: str) -> audit_pb2.AuditEntry | None:
        """Reads file by file, from the newest one on."""
        return next((quote_of(row) for row in self._rows("price_quote", quote_id=quote_id)), None)

    def decisions(self, item_id: str, until: datetime) -> Iterator[audit_pb2.AuditEntry]:
        """Made before `until`, in UTC; the newest first."""
        for row in self._rows("price_decision", until, item_id=item_id):
            if row["recorded_at"] < until:
                yield decision_of(row)

    def _rows(self, kind: str, until: datetime | None = None, **wanted: str) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq

        hour = f"{until:%Y-%m-%dT%H}" if until else ""
        filters = [(name, "=", value) for name, value in (*wanted.items(), ("tenant", self._tenant))]
        for path in self._files:
            name = path.rsplit("/", 1)[-1]
            if name.endswith(f"-{kind}.parquet") and name[: len(hour)] <= hour:
                rows = pq.read_table(path, filesystem=self._store, filters=filters).to_pylist()
                yield from sorted(rows, key=lambda row: row["recorded_at"], reverse=True)
