"""Equal answers after the loss and the restore of all state, and the duration of backup and restore.

    python -m benchmarks.restore --size 3000 --requests 500 --out R.json

The demo shop with two weeks of its shoppers' events. In order: backup while the suite serves, the answers to the
requests, stop of the suite, removal of all state, restore, a new suite, the same requests. The backup comes first and
no shopper occurs twice, because impressions change a shopper's later answers. Each page of a search counts as one
request.
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

from demo.catalogue import DemoProduct, build_catalogue
from demo.loading import load_shop
from kairos.gateway.v1 import gateway_pb2
from ops.backup.copies import bring_back, save
from ops.client import Connection
from ops.in_process import in_process_suite
from ops.settings import SuiteSettings

_TIMEOUT_S = 30.0
# These fields differ in every answer.
_VOLATILE = {"requestId", "attributionToken", "nextPageToken", "timings", "quoteId", "quotedAt", "validUntil"}
# A product may become a day older between two requests.
_AGE = re.compile(r"Sold for \d+ days")
# The weight of the history decreases with time, and scores with it.
SCORE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Request:
    """A call of the gateway. A search with 2 pages counts as two requests."""

    method: str
    message: Message
    pages: int = 1


def requests_of(catalogue: Sequence[DemoProduct], users: Sequence[str], count: int, seed: int = 7) -> list[Request]:
    """`count` requests: half are searches and their second pages, a quarter recommendations, a quarter prices."""
    random, requests, left = Random(seed), list[Request](), iter(users)
    while (total := sum(one.pages for one in requests)) < count:
        product = random.choice(catalogue)
        kind = len(requests) % 3
        if kind == 0:
            words = random.choice([product.title, product.title_zh, product.category_path[-1], product.brand])
            query = " ".join(words.split()[:4])
            # Every other search is of a known shopper.
            user = next(left) if len(requests) % 2 else ""
            message: Message = gateway_pb2.SearchRequest(query=query, user_id=user, explain=True, facets=["brand"])
            requests.append(Request("Search", message, min(2, count - total)))
        elif kind == 1:
            requests.append(Request("Recommend", gateway_pb2.RecommendRequest(user_id=next(left), explain=True)))
        else:
            ids = [chosen.id for chosen in random.sample(list(catalogue), 5)]
            requests.append(Request("QuotePrices", gateway_pb2.QuotePricesRequest(product_ids=ids)))
    return requests


def answers(connection: Connection, requests: Sequence[Request]) -> list[dict[str, Any]]:
    """One for each request and page, without volatile fields."""
    return [_comparable(MessageToDict(answer)) for one in requests for answer in _pages(connection, one)]


def same(one: Any, other: Any) -> bool:
    """Numbers may differ by SCORE_TOLERANCE; everything else is equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= SCORE_TOLERANCE
    return bool(one == other)


def _comparable(value: Any) -> Any:
    if isinstance(value, str):
        return _AGE.sub("Sold for days", value)
    if isinstance(value, dict):
        return {name: _comparable(kept) for name, kept in value.items() if name not in _VOLATILE}
    return [_comparable(kept) for kept in value] if isinstance(value, list) else value


def _pages(connection: Connection, request: Request) -> Iterator[Any]:
    with connection.stub() as stub:
        message: Any = type(request.message)()
        message.CopyFrom(request.message)
        for _ in range(request.pages):
            answer = getattr(stub, request.method)(message, timeout=_TIMEOUT_S)
            yield answer
            if request.pages > 1:
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
            users = load_shop(connection, folder, catalogue, arguments.requests)
            began = time.monotonic()
            manifest = save(settings, folder / "backup")
            backup_s = time.monotonic() - began
            requests = requests_of(catalogue, users, arguments.requests)
            before = answers(connection, requests)
        shutil.rmtree(state)
        began = time.monotonic()
        bring_back(settings, folder / "backup")
        restore_s = time.monotonic() - began
        with in_process_suite(state, encoder={"model_cache_dir": state / "models"}) as suite:
            after = answers(Connection(suite.gateway_target, timeout_s=_TIMEOUT_S), requests)
        on_disk = sum(path.stat().st_blocks * 512 for path in (folder / "backup").rglob("*"))
    different = [pair for pair in zip(before, after, strict=True) if not same(*pair)]
    report = {
        "products": len(catalogue),
        "requests": len(before),
        "same": len(before) - len(different),
        "different": different,
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
