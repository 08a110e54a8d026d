"""Reading a file takes the same memory whatever its length, in every format and layout."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.rows import read_rows

# Files of 1,200 rows have 3 to 4 MB, but for those where one row of four has the text.
_ROWS = 1_200
_TEXT = f"<p>{'A chair of oak and ash, for kitchens. ' * 80}</p>"


def csv(count: int) -> Iterator[str]:
    yield "id,title,description\n"
    yield from (f"{n},Chair,{_TEXT.replace(',', '')}\n" for n in range(count))


def shopify(count: int) -> Iterator[str]:
    yield "Handle,Title,Body (HTML),Option1 Name,Option1 Value,Variant Price\n"
    for n in range(count):
        first = f'Chair,"{_TEXT}"' if n % 4 == 0 else ","
        yield f"chair-{n // 4},{first},Size,{n % 4},5\n"


def woocommerce(count: int) -> Iterator[str]:
    yield "ID,Type,Name,Parent,Regular price,Description,Attribute 1 name,Attribute 1 value(s)\n"
    for n in range(count):
        parent = f'variable,Chair,,5,"{_TEXT}",Size,"1, 2, 3"'
        yield f"{n},{parent if n % 4 == 0 else f'variation,,id:{n - n % 4},6,,Size,{n % 4}'}\n"


def xml(count: int) -> Iterator[str]:
    yield '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
    escaped = _TEXT.replace("<", "&lt;")
    for n in range(count):
        yield f"<item><g:id>{n}</g:id><title>Chair</title><g:description>{escaped}</g:description></item>\n"
    yield "</channel></rss>"


@pytest.mark.parametrize(
    ("name", "written"), [("p.csv", csv), ("s.csv", shopify), ("w.csv", woocommerce), ("f.xml", xml)]
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str, written: Callable[[int], Iterator[str]]) -> None:
    """Rows are read one at a time; what variants have from another row is not kept for the whole file."""
    path = tmp_path / name
    path.write_text("".join(written(_ROWS)))
    tracemalloc.start()
    count = sum(bool(row.values) for row in read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == (_ROWS * 3 // 4 if written is woocommerce else _ROWS)
    assert peak < 600_000 < path.stat().st_size
