"""Reads the products of a catalogue file, with the mapping of `kairos catalog import`, for training and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from catalog.mapping import mapping_for, parse_mapping
from catalog.rows import RowRefused, column_names, read_rows
from kairos.common.v1 import product_pb2
from services.common.convert import product_from_proto
from services.common.product import Product


def read_catalogue(file: Path, mapping: str = "", currency: str = "USD") -> list[Product]:
    """All products that the shop shows, each id once, without rows that an import would reject.

    Raises ValueError for a wrong mapping.
    """
    return [product for _, product in read_messages(file, mapping, currency)]


def read_messages(
    file: Path, mapping: str = "", currency: str = "USD"
) -> Iterator[tuple[product_pb2.Product, Product]]:
    """Each product as a message and as a domain object; see read_catalogue."""
    columns, _ = mapping_for(file, parse_mapping(mapping, column_names(file), currency))
    seen: set[str] = set()
    bad = 0
    for row in tqdm(read_rows(file), desc=file.name, unit=" rows"):
        if row.is_hidden:
            continue
        try:
            message = columns.product(row.values)
        except RowRefused:
            bad += 1
            continue
        if message.id not in seen:
            seen.add(message.id)
            yield message, product_from_proto(message, "row")
    if bad:
        tqdm.write(f"{bad} rows were skipped; `kairos catalog import` reports the reason for each")


def image_path(product: Product, images: Path) -> Path | None:
    """The file of `image_uri` in the folder `images`; None if there is no such file in it."""
    if not product.image_uri:
        return None
    folder = images.resolve()
    path = (folder / product.image_uri).resolve()
    return path if path.is_relative_to(folder) and path.is_file() else None
