"""Removes products that a complete feed no longer has, unless that would remove surprisingly many."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from catalog.retries import attempts
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection

# The gateway's limits of a page, and of ids in one call.
_PAGE, _IDS = 500, 1_000
_TIMEOUT_S = 60.0


class RemovalRefused(Exception):
    """Nothing was removed. The message has both shares and the remedy."""


@dataclass
class Removal:
    """What a complete import removes. `max_share`: of the products that may be removed, and of rows that may be
    rejected, from 0 to 1.
    """

    max_share: float
    # Products that the catalogue had before the import. What others add meanwhile stays.
    existing: set[str] = field(default_factory=set)
    # Products of `existing` that the feed lacks.
    absent: list[str] = field(default_factory=list)
    deleted: int = 0

    def read_catalogue(self, stub: gateway_pb2_grpc.GatewayServiceStub, connection: Connection) -> None:
        """Reads the ids of all products."""
        request = gateway_pb2.ListProductsRequest(page_size=_PAGE, ids_only=True)
        while True:
            for attempt in attempts():
                with attempt:
                    page = stub.ListProducts(request, timeout=_TIMEOUT_S, metadata=connection.metadata)
            self.existing.update(entry.product.id for entry in page.products)
            if page.is_last_page:
                return
            request.page_token = page.next_page_token

    def plan(self, present: Collection[str], rejected: int, read: int) -> None:
        """Decides what to remove. `present`: ids of all rows, also of rejected ones. Raises RemovalRefused."""
        self.absent = sorted(self.existing.difference(present))
        if not read:
            raise RemovalRefused("the file has no rows; nothing was deleted")
        absent_share = len(self.absent) / max(len(self.existing), 1)
        rejected_share = rejected / read
        if max(absent_share, rejected_share) > self.max_share:
            raise RemovalRefused(
                f"{len(self.absent):,} of {len(self.existing):,} products ({absent_share:.1%}) are not in the file, "
                f"and {rejected:,} of {read:,} rows ({rejected_share:.1%}) were rejected; nothing was deleted, because "
                f"more than {self.max_share:.0%} is likely to be a mistake. Correct the file, or allow more with "
                "--max-deleted-share"
            )

    def delete(self, stub: gateway_pb2_grpc.GatewayServiceStub, connection: Connection) -> None:
        for start in range(0, len(self.absent), _IDS):
            request = gateway_pb2.DeleteProductsRequest(ids=self.absent[start : start + _IDS])
            for attempt in attempts():
                with attempt:
                    answer = stub.DeleteProducts(request, timeout=_TIMEOUT_S, metadata=connection.metadata)
            self.deleted += answer.deleted_count
