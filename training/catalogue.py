"""A shop's catalogue file as training reads it: with the mapping of `kairos catalog import`."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from cli.mapping import RowRefused, parse_mapping
from cli.rows import column_names, read_rows
from services.common.convert import product_from_proto
from services.common.errors import InvalidArgument
from services.common.product import Product, violations


def read_catalogue(file: Path, mapping: str = "", currency: str = "USD") -> list[Product]:
    """Each id once; rows that an import would reject are left out. Raises ValueError for a wrong mapping."""
    columns = parse_mapping(mapping, column_names(file), currency)
    products: dict[str, Product] = {}
    bad = 0
    for row in tqdm(read_rows(file), desc=file.name, unit=" rows"):
        try:
            product = product_from_proto(columns.product(row.values), "row")
        except (RowRefused, InvalidArgument):
            bad += 1
            continue
        if row.problem or violations(product):
            bad += 1
        else:
            products.setdefault(product.id, product)
    if bad:
        tqdm.write(f"{bad} rows left out; `kairos catalog import` says what is wrong with each")
    return list(products.values())


def picture_path(product: Product, images: Path) -> Path | None:
    """Where `image_uri` leads in `images`; None where there is no such file in it."""
    if not product.image_uri:
        return None
    folder = images.resolve()
    path = (folder / product.image_uri).resolve()
    return path if path.is_relative_to(folder) and path.is_file() else None
