"""Whether the shop answers as before after everything was lost, and how long backup and restore take.

    python -m benchmarks.restore --size 3000 --requests 500 --out R.json

The demo shop with a fortnight of its shoppers' events. In order: `kairos backup` while it serves, the answers to the
requests, the end of the suite, the removal of all of its state, `kairos restore`, a new suite, the same requests. The
backup comes first since page something is an act: what a shopper saw, the next answer takes into account. For the
same reason no shopper asks twice; the pages of one answer are one request each.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console

from catalog.imports import CatalogImport, EventsImport, Rejects
from catalog.mapping import parse_mapping
from demo.catalogue import DemoProduct, build_catalogue, write_catalogue
from demo.shoppers import build_shoppers, simulate_events, write_events
from kairos.gateway.v1 import gateway_pb2
from ops.backup.copies import bring_back, save
from ops.client import Connection
from ops.in_process import in_process_suite
from ops.settings import SuiteSettings

DAYS = 14
_TIMEOUT_S = 30.0
# What is never the same twice: names of the answer, and when a price was quoted.
_PASSING = {"requestId", "attributionToken", "nextPageToken", "timings", "quoteId", "quotedAt", "validUntil"}
_AGE = re.compile(r"Sold for \d+ days")
# How far scores may be apart: history loses weight while time passes.
SCORE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Asked:
    """One request, and for a search whether its second page is asked for too, which counts as another."""

    method: str
    message: Message
    pages: int = 1


def requests_of(catalogue: Sequence[DemoProduct], users: Sequence[str], count: int, seed: int = 7) -> list[Asked]:
    """`count` in all: half are searches and their second pages, a quarter recommendations, a quarter prices."""
    random, asked, left = Random(seed), list[Asked](), iter(users)
    while (total := sum(one.pages for one in asked)) < count:
        product = random.choice(catalogue)
        kind = len(asked) % 3
        if kind == 0:
            words = random.choice([product.title, product.title_zh, product.category_path[-1], product.brand])
            query = " ".join(words.split()[:4])
            # Every other one by a known shopper.
            user = next(left) if len(asked) % 2 else ""
            message: Message = gateway_pb2.SearchRequest(query=query, user_id=user, explain=True, facets=["brand"])
            asked.append(Asked("Search", message, min(2, count - total)))
        elif kind == 1:
            asked.append(Asked("Recommend", gateway_pb2.RecommendRequest(user_id=next(left), explain=True)))
        else:
            ids = [chosen.id for chosen in random.sample(list(catalogue), 5)]
            asked.append(Asked("QuotePrices", gateway_pb2.QuotePricesRequest(product_ids=ids)))
    return asked


def answers(connection: Connection, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """One a request, later pages included, without what is never the same twice."""
    return [without_passing(MessageToDict(answer)) for one in asked for answer in _pages(connection, one)]


def differences(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[int]:
    """Numbers of the requests whose answers are not the same."""
    return [number for number, pair in enumerate(zip(before, after, strict=True)) if not same(*pair)]


def same(one: Any, other: Any) -> bool:
    """Numbers may be SCORE_TOLERANCE apart; all else is equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= SCORE_TOLERANCE
    return bool(one == other)


def without_passing(value: Any) -> Any:
    """The age of a product in days is the clock's: between two questions one may have its birthday."""
    if isinstance(value, str):
        return _AGE.sub("Sold for days", value)
    if isinstance(value, dict):
        return {name: without_passing(kept) for name, kept in value.items() if name not in _PASSING}
    return [without_passing(kept) for kept in value] if isinstance(value, list) else value


def fill(connection: Connection, folder: Path, catalogue: list[DemoProduct], shopper_count: int) -> list[str]:
    """Import products and events; the shoppers who did something."""
    write_catalogue(folder / "products.jsonl.gz", catalogue)
    events = list(simulate_events(build_shoppers(catalogue, shopper_count), catalogue, DAYS))
    write_events(folder / "events.jsonl.gz", events)
    rejects = Rejects(folder / "rejects.jsonl")
    products = CatalogImport(connection, parse_mapping("", None, "USD"), rejects)
    summaries = [products.run(folder / "products.jsonl.gz", quiet=True)]
    summaries.append(EventsImport(connection, rejects).run(folder / "events.jsonl.gz", quiet=True))
    if any(summary.rejected for summary in summaries):
        raise SystemExit(f"rows of the demo shop were rejected: {summaries}")
    return sorted({event.user_id for event in events if event.item_id})


def _pages(connection: Connection, asked: Asked) -> Iterator[Any]:
    with connection.stub() as stub:
        message: Any = type(asked.message)()
        message.CopyFrom(asked.message)
        for _ in range(asked.pages):
            answer = getattr(stub, asked.method)(message, timeout=_TIMEOUT_S)
            yield answer
            if asked.pages > 1:
                message.page_token = answer.next_page_token


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=3_000, help="products")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    catalogue = build_catalogue(size=arguments.size)
    with tempfile.TemporaryDirectory(prefix="kairos-restore-") as name:
        folder = Path(name)
        state, settings = folder / "var", SuiteSettings(data_dir=folder / "var")
        with in_process_suite(state, encoder={"model_cache_dir": state / "models"}) as suite:
            connection = Connection(suite.gateway_target, timeout_s=_TIMEOUT_S)
            users = fill(connection, folder, catalogue, arguments.requests)
            began = time.monotonic()
            manifest = save(settings, folder / "backup")
            backup_s = time.monotonic() - began
            asked = requests_of(catalogue, users, arguments.requests)
            before = answers(connection, asked)
        shutil.rmtree(state)
        began = time.monotonic()
        bring_back(settings, folder / "backup")
        restore_s = time.monotonic() - began
        with in_process_suite(state, encoder={"model_cache_dir": state / "models"}) as suite:
            after = answers(Connection(suite.gateway_target, timeout_s=_TIMEOUT_S), asked)
        on_disk = sum(path.stat().st_blocks * 512 for path in (folder / "backup").rglob("*"))
    different = differences(before, after)
    report = {
        "products": len(catalogue),
        "requests": len(before),
        "same": len(before) - len(different),
        "different": [[before[number], after[number]] for number in different],
        "degraded": sum("degradations" in answer for answer in before),
        "backup_s": round(backup_s, 2),
        "restore_s": round(restore_s, 2),
        "backup_mb_on_disk": round(on_disk / 1e6, 1),
        "files": sum(len(part.files) for part in manifest.parts),
    }
    Console().print_json(data={name: value for name, value in report.items() if name != "different"})
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
