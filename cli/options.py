"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kairos.common.v1 import product_pb2

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output.")]
User = Annotated[str, typer.Option(help="Id of the user. Empty: an unknown user.")]
Visitor = Annotated[str, typer.Option(help="Id of the anonymous visitor. Used if no user is given.")]
IsVisitor = Annotated[bool, typer.Option("--visitor", help="The id is that of an anonymous visitor.")]
Session = Annotated[str, typer.Option(help="Id of the session. Empty: no session.")]
Locale = Annotated[str, typer.Option(help="Language of the shopper, for example en or zh-CN. Empty: unknown.")]
Explained = Annotated[bool, typer.Option(help="Print scores, reasons and the time of each stage.")]
PageSize = Annotated[int, typer.Option(min=1, max=100, help="Number of results.")]
Brands = Annotated[list[str], typer.Option("--brand", help="Only products of this brand. May be repeated.")]
Categories = Annotated[
    list[str],
    typer.Option("--category", help='Only products in this category, for example "Shoes > Boots". May be repeated.'),
]
ProductTypes = Annotated[
    list[str],
    typer.Option("--product-type", help='Only products of this type, for example "case". May be repeated.'),
]
CompatibleWith = Annotated[
    list[str],
    typer.Option("--for", help='Only products that are for this, for example "canon eos". May be repeated.'),
]
Literal = Annotated[bool, typer.Option(help="Read no conditions from the text of the query.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder with the suite's state and logs.", show_default="var")]
RejectsFile = Annotated[
    Path | None,
    typer.Option("--rejects", help="File for rejected rows, with line and reason.", show_default="FILE.rejects.jsonl"),
]
Currency = Annotated[str, typer.Option(help="Currency of amounts that name none, in rows without a column `currency`.")]
Strict = Annotated[bool, typer.Option(help="End with exit code 1 if a row was rejected or a value left out.")]
PriceList = Annotated[str, typer.Option(help="Price list whose offers apply. Default: the default list.")]
Place = Annotated[str, typer.Option(help="Store or warehouse whose prices and stock apply. Default: any.")]
AllVariants = Annotated[bool, typer.Option(help="Show every variant of a product as a result of its own.")]
Registry = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        envvar="KAIROS_RANKER_REGISTRY_DIR",
        help="Folder of the registry, with a folder for each tenant.",
        show_default="var/ranker/models",
    ),
]
Tenant = Annotated[str, typer.Option(help="Tenant whose versions are meant.")]


def collapse_mode(all_variants: bool) -> product_pb2.CollapseMode.ValueType:
    return product_pb2.COLLAPSE_MODE_NONE if all_variants else product_pb2.COLLAPSE_MODE_GROUP
