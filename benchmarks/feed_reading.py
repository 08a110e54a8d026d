"""Rows per second of reading feeds in each format and layout, and the memory that it takes.

    python -m benchmarks.feed_reading --rows 50000 --out R.json

Writes a file of each kind, with descriptions of about 60 words, and reads it on one core in a process of its own:
products are made and checked as for an import, and not sent.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
from rich.console import Console
from rich.table import Table

from catalog.mapping import mapping_for, parse_mapping
from catalog.rows import column_names, read_rows

_VARIANTS = 4
_WORDS = [f"word{number}" for number in range(3_000)]


def _html(chance: random.Random) -> str:
    return f"<p>{' '.join(chance.choices(_WORDS, k=60))}</p>"


def csv(rows: int, chance: random.Random) -> Iterator[str]:
    yield "id,title,description,price\n"
    yield from (f"{row},Chair {row},{_html(chance)},5.50\n" for row in range(rows))


def shopify(rows: int, chance: random.Random) -> Iterator[str]:
    yield "Handle,Title,Body (HTML),Vendor,Type,Tags,Option1 Name,Option1 Value,Variant Price,Image Src\n"
    for row in range(rows):
        product = f"Chair,{_html(chance)}" if row % _VARIANTS == 0 else ","
        yield f"h{row // _VARIANTS},{product},V,T,a,Size,{row % _VARIANTS},5,\n"


def woocommerce(rows: int, chance: random.Random) -> Iterator[str]:
    yield "ID,Type,Name,Parent,Regular price,Description,Categories,Attribute 1 name,Attribute 1 value(s)\n"
    for row in range(rows):
        first = row - row % _VARIANTS
        parent = f'variable,Chair,,5,{_html(chance)},A > B,Size,"1, 2, 3"'
        yield f"{row},{parent if row == first else f'variation,,id:{first},6,,,Size,{row}'}\n"


def google(rows: int, chance: random.Random) -> Iterator[str]:
    yield '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>\n'
    for row in range(rows):
        description = _html(chance).replace("<", "&lt;")
        yield (
            f"<item><g:id>{row}</g:id><title>Chair {row}</title><description>{description}</description>"
            "<g:price>5.50 USD</g:price><g:color>Red/Blue</g:color><g:availability>in_stock</g:availability>"
            "<g:product_type>A &gt; B</g:product_type></item>\n"
        )
    yield "</channel></rss>\n"


_TEXTS: dict[str, Callable[[int, random.Random], Iterator[str]]] = {
    "plain.csv": csv, "shopify.csv": shopify, "woocommerce.csv": woocommerce, "google.xml": google,
}  # fmt: skip
NAMES = (*_TEXTS, "plain.parquet")


def write(path: Path, rows: int) -> None:
    chance = random.Random(0)
    if path.name in _TEXTS:
        with path.open("w") as file:
            file.writelines(_TEXTS[path.name](rows, chance))
        return
    columns = {
        "id": [str(row) for row in range(rows)], "title": ["Chair"] * rows, "price": [5.5] * rows,
        "description": [_html(chance) for _ in range(rows)],
    }  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def measure(path: Path) -> dict[str, float]:
    """Rows per second of CPU time, and MB of memory above that of the start."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    mapping, _ = mapping_for(path, parse_mapping("", column_names(path), "USD"))
    count = sum(bool(mapping.product(row.values).id) for row in read_rows(path))
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rows": count, "rows_per_s": round(count / seconds), "memory_mb": round((peak - before) / 1024, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--out", type=Path, help="path of the JSON report")
    parser.add_argument("--read", type=Path, help="read one file and print its numbers")
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(measure(arguments.read)))
        return 0
    report = {}
    table = Table("file", "MB", "rows", "rows/s", "memory, MB")
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            path = Path(folder) / name
            write(path, arguments.rows)
            command = [sys.executable, "-m", "benchmarks.feed_reading", "--read", str(path)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            report[name] = found | {"file_mb": round(path.stat().st_size / 1e6, 1)}
            table.add_row(name, *(f"{report[name][key]:,}" for key in ("file_mb", "rows", "rows_per_s", "memory_mb")))
    Console().print(table)
    if arguments.out:
        arguments.out.write_text(json.dumps({"rows": arguments.rows, "files": report}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
