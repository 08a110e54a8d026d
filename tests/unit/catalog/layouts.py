"""What the tests of layouts share."""

from __future__ import annotations

from pathlib import Path

from catalog.mapping import mapping_for, parse_mapping
from catalog.rows import column_names, read_rows
from kairos.common.v1 import product_pb2


def products_of(path: Path, spec: str = "", currency: str = "USD") -> list[product_pb2.Product]:
    """The products of a file that are shown, as an import makes them."""
    mapping, _ = mapping_for(path, parse_mapping(spec, column_names(path), currency))
    rows = list(read_rows(path))
    assert not [row.problem for row in rows if row.problem]
    return [mapping.product(row.values) for row in rows if not row.is_hidden]


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def values(product: product_pb2.Product) -> dict[str, list[str]]:
    """The attributes of a product."""
    return {name: list(entry.values) for name, entry in product.attributes.items()}
