"""Fuzzes the readers of catalogue and event files: mutated files give rows, rejected rows or one error about the file.

    python -m tests.fuzz.feeds --minutes 60 --out R.json --kept build/feeds

Each run of an input is bounded: its memory by --memory-mb above that of the start, its CPU time by --seconds. An input
that breaks a bound, or raises anything else, is kept in the folder and ends the command with exit code 1. The same
--seed makes the same inputs. Put files of your own into the folder --from to mutate them too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from catalog.events import event_of
from catalog.mapping import mapping_for, parse_mapping
from catalog.rows import FileRefused, RowRefused, column_names, describe, read_rows
from kairos.common.v1 import product_pb2
from services.common.convert import product_from_proto
from services.common.product import violations

_KINDS = ("csv", "tsv", "jsonl", "json", "csv.gz", "jsonl.gz", "xml", "xml.gz")
_CSV = (
    "id,title,price,category,stock,created_at,attributes.colour\n"
    '1,"A ""b"" &amp; c","19,99 €",A > B,-3,1712101512345,red|blue\n'
)
_SHOPIFY = (
    "Handle,Title,Body (HTML),Tags,Option1 Name,Option1 Value,Variant Price,Variant Barcode,Image Src,Status\n"
    'vest,Vest,<p>Warm &amp; <b>light</b></p>,"a, b",Size,S,5,4006381333931,https://x.example/1.jpg,active\nvest,,,,,M,6,,,\n'
)
_WOO = (
    "ID,Type,SKU,Name,Parent,Regular price,Categories,Stock,Attribute 1 name,Attribute 1 value(s)\n"
    '1,variable,w,Hoodie,,5,"A > B, C > D",parent,Size,"S, M"\n'
    "2,variation,,,id:1,5,,parent,Size,S\n3,variation,,,w,,,,,M\n"
)
_XML = """<?xml version="1.0"?>
<rss xmlns:g="http://base.google.com/ns/1.0"><channel><title>t</title>
<item><g:id>1</g:id><title>A &amp; b</title><g:price>15.00 USD</g:price><g:color>red/blue</g:color><link>l</link>
<g:product_detail><g:attribute_name>n</g:attribute_name><g:attribute_value>v</g:attribute_value></g:product_detail>
<g:sale_price_effective_date>2026-01-01/2026-02-01</g:sale_price_effective_date><g:gtin>4006381333931</g:gtin></item>
<item><g:id>2</g:id><description><![CDATA[<p>x</p>]]></description></item></channel></rss>
"""
_JSON = {
    "id": "1", "title": "鞋 \U0001f9e2", "price": 19.99, "attributes": {"colour": ["red", None]}, "stock": "in stock",
    "created_at": "2024-04-02T10:00:00Z", "event_id": "e", "user_id": "u", "item_id": "1", "type": "click", "time": 0,
}  # fmt: skip
# What breaks parsers: marks, limits, other scripts, half characters.
_WORDS = [
    b'"', b"'", b",", b";", b"\t", b"|", b"\r", b"\n", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff",
    b"\xed\xa0\x80", b"[", b"]", b"{", b"}", b":", b"\\", b"\\u0000", b"\\ud800", b"NaN", b"-Infinity",
    b"1e999", b"9" * 5_000, b"1.299", b"1,299.00", "€".encode(), "１２".encode(), "٫".encode(), "ⅷ½²".encode(),
    b"&#0;", b"&amp;amp;", b"sep=;\n", b" > ", b"null", b"0001-01-01", b"9999-12-31T23:59:59-12:00",
    b"<!DOCTYPE r [<!ENTITY a 'b'><!ENTITY c '&a;&a;'>]>", b"&c;", b"&nbsp;", b"<![CDATA[", b"]]>", b"<item>",
    b"</item>", b"<g:id>", b"<p>", b"<script>", b"<!--", b"<b \"", b"<a>" * 2_000, b"</", b"xmlns='x'", b"\xe9",
    b"\x81", b"id:1", b"[" * 2_000, b'{"a":' * 2_000, b"a," * 3_000, b"x" * 70_000, b"EVENT_TYPE_CLICK",
    b"1712101512345",
]  # fmt: skip


def seeds(folder: Path | None) -> list[bytes]:
    """The files that are mutated."""
    row = json.dumps(_JSON, ensure_ascii=False)
    lines, array = f"{row}\n{row}\n".encode(), json.dumps([_JSON, _JSON], indent=1).encode()
    others = [path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file()] if folder else []
    texts = [text.encode() for text in (_CSV, _SHOPIFY, _WOO, _XML)]
    return [*texts, _CSV.encode("utf-16"), _CSV.encode("cp1252"), _XML.encode("utf-16"), lines, array, *others]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` after one to eight changes: bytes, words, parts repeated, removed or exchanged."""
    for _ in range(chance.randint(1, 8)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((1, 4, 40, 400)))
        piece = data[start:end]
        new = chance.choice(
            (
                b"",
                chance.choice(_WORDS),
                chance.choice(_WORDS) + piece,
                chance.randbytes(len(piece)),
                piece * chance.randint(2, 50),
            )
        )
        data = data[:start] + new + data[end:]
    return data[: 1 << 20]


def read(path: Path) -> str:
    """What became of the file: "rows", "rejected" or "refused"."""
    rows = rejected = 0
    try:
        mapping, _ = mapping_for(path, parse_mapping("", None, "USD"))
        column_names(path)
        str(describe(path)).encode()
        for row in read_rows(path):
            rows += 1
            rejected += bool(row.problem)
            (row.problem + row.raw).encode()
            for use in (mapping.product, event_of):
                try:
                    made = use(row.values)
                except RowRefused as refused:
                    refused.reason.encode("utf-8", "replace")
                else:
                    if isinstance(made, product_pb2.Product) and violations(product_from_proto(made, "row")):
                        raise AssertionError(f"a product that the contract does not allow: {made}")
    except FileRefused as refused:
        if path.name not in str(refused):
            raise
        return "refused"
    return "rejected" if rejected else "rows" if rows else "empty"


def inputs(arguments: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """(name, content) without an end."""
    chance, files = random.Random(arguments.seed), seeds(arguments.origin)
    while True:
        kind = chance.choice(_KINDS)
        # Mostly a file of the kind: XML by another name is refused at once.
        fitting = [file for file in files if file.startswith(b"<") == kind.startswith("xml")]
        data = mutated(chance.choice(fitting if chance.random() < 0.9 else files), chance)
        if kind.endswith(".gz"):
            data = gzip.compress(data, 1)
            data = mutated(data, chance) if chance.random() < 0.2 else data
        yield f"feed.{kind}", data


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-mb", type=int, default=512)
    parser.add_argument("--seconds", type=int, default=10, help="CPU time of one input")
    parser.add_argument("--from", type=Path, dest="origin", help="folder with files to mutate")
    parser.add_argument("--kept", type=Path, default=Path("build/feeds"), help="folder for inputs that fail")
    parser.add_argument("--out", type=Path, help="path of the JSON report")
    arguments = parser.parse_args()

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {arguments.seconds} s of CPU time")

    signal.signal(signal.SIGVTALRM, too_long)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (arguments.memory_mb << 20),) * 2)
    found: Counter[str] = Counter()
    until = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder, tqdm(unit=" files") as bar:
        for name, data in inputs(arguments):
            path = Path(folder) / name
            path.write_bytes(data)
            signal.setitimer(signal.ITIMER_VIRTUAL, arguments.seconds)
            try:
                found[read(path)] += 1
            except Exception:
                found["failed"] += 1
                arguments.kept.mkdir(parents=True, exist_ok=True)
                (arguments.kept / f"{arguments.seed}-{found.total()}-{name}").write_bytes(data)
                tqdm.write(traceback.format_exc())
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            bar.update()
            if time.monotonic() > until:
                break
    report = dict(found) | {"seed": arguments.seed, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}
    print(json.dumps(report))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
