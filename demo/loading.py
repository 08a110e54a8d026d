"""Imports the demo shop into a running suite, through its gateway."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from catalog.faq import read_faq
from catalog.imports import CatalogImport, EventsImport, Rejects
from catalog.mapping import parse_mapping
from demo.catalogue import DemoProduct, build_catalogue, write_catalogue
from demo.offers import build_offers
from demo.shoppers import build_shoppers, simulate_events, write_events
from kairos.gateway.v1 import faq_pb2, gateway_pb2
from ops.client import Connection
from services.common.faq import faq_batches

DAYS = 14
FAQ = Path(__file__).parent / "faq.md"
_OFFERS_PER_MESSAGE = 500
_OFFERS_TIMEOUT_S = 120.0


class RowsRejected(Exception):
    """The gateway rejected rows of the demo shop; the message says how many."""


def load_products(connection: Connection, folder: Path, products: Sequence[DemoProduct] | None = None) -> None:
    """Imports `products` (default: the whole demo shop) and their offers; unchanged products cost little. `folder`
    takes the files.

    Raises RowsRejected.
    """
    file = folder / "products.jsonl.gz"
    catalogue = build_catalogue() if products is None else list(products)
    write_catalogue(file, catalogue)
    rejects = Rejects(folder / "rejects.jsonl")
    _check(CatalogImport(connection, parse_mapping("", None, "USD"), rejects).run(file).rejected)
    load_offers(connection, catalogue)


def load_faq(connection: Connection) -> None:
    """Imports the FAQ of the demo shop. Raises RowsRejected."""
    read = list(read_faq(FAQ))
    wrong = sum(each.problem is not None for each in read)
    with connection.stub() as stub:
        for batch in faq_batches(each.entry for each in read if each.problem is None):
            request = faq_pb2.ImportFaqEntriesRequest(entries=batch)
            wrong += len(stub.ImportFaqEntries(request, timeout=_OFFERS_TIMEOUT_S).rejected)
    _check(wrong)


def load_offers(connection: Connection, products: Sequence[DemoProduct]) -> None:
    """Publishes the offers of products that were imported. Raises RowsRejected."""
    offers = build_offers(products, datetime.now(UTC))
    messages = iter(lambda: list(itertools.islice(offers, _OFFERS_PER_MESSAGE)), [])
    with connection.stub() as stub:
        answer = stub.UpdateOffers(
            (gateway_pb2.UpdateOffersRequest(offers=batch) for batch in messages), timeout=_OFFERS_TIMEOUT_S
        )  # fmt: skip
    _check(answer.rejected_count + answer.missing_count)


def load_shop(
    connection: Connection, folder: Path, products: Sequence[DemoProduct], shoppers: int, days: int = DAYS
) -> list[str]:
    """Imports `products` and the simulated events of `shoppers`; returns the ids of users with an event on an item.

    Raises RowsRejected.
    """
    load_products(connection, folder, products)
    return load_events(connection, folder, products, shoppers, days)


def load_events(
    connection: Connection, folder: Path, products: Sequence[DemoProduct], shoppers: int, days: int = DAYS
) -> list[str]:
    """Imports the simulated events of `shoppers`; returns the ids of users with an event on an item.

    Raises RowsRejected.
    """
    catalogue = list(products)
    events = list(simulate_events(build_shoppers(catalogue, shoppers), catalogue, days))
    file = folder / "events.jsonl.gz"
    write_events(file, events)
    _check(EventsImport(connection, Rejects(folder / "rejects.jsonl")).run(file).rejected)
    return sorted({event.user_id for event in events if event.item_id})


def _check(rejected: int) -> None:
    if rejected:
        raise RowsRejected(f"{rejected} rows of the demo shop were rejected")
