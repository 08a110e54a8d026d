"""Imports the demo shop into a running suite, through its gateway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from catalog.imports import CatalogImport, EventsImport, Rejects
from catalog.mapping import parse_mapping
from demo.catalogue import DemoProduct, write_catalogue
from demo.shoppers import build_shoppers, simulate_events, write_events
from ops.client import Connection

DAYS = 14


class RowsRejected(Exception):
    """The gateway rejected rows of the demo shop; the message says how many."""


def load_products(connection: Connection, folder: Path, products: Sequence[DemoProduct] | None = None) -> None:
    """Imports `products` (default: the whole demo shop); unchanged products cost little. `folder` takes the files.

    Raises RowsRejected.
    """
    file = folder / "products.jsonl.gz"
    write_catalogue(file, None if products is None else list(products))
    rejects = Rejects(folder / "rejects.jsonl")
    _check(CatalogImport(connection, parse_mapping("", None, "USD"), rejects).run(file).rejected)


def load_shop(
    connection: Connection, folder: Path, products: Sequence[DemoProduct], shoppers: int, days: int = DAYS
) -> list[str]:
    """Imports `products` and the simulated events of `shoppers`; returns the ids of users with an event on an item.

    Raises RowsRejected.
    """
    load_products(connection, folder, products)
    catalogue = list(products)
    events = list(simulate_events(build_shoppers(catalogue, shoppers), catalogue, days))
    file = folder / "events.jsonl.gz"
    write_events(file, events)
    _check(EventsImport(connection, Rejects(folder / "rejects.jsonl")).run(file).rejected)
    return sorted({event.user_id for event in events if event.item_id})


def _check(rejected: int) -> None:
    if rejected:
        raise RowsRejected(f"{rejected} rows of the demo shop were rejected")
