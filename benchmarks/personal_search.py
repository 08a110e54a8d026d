"""Personal search through the gateway's `Search`: the rank of the product that a person bought after a query.

    python -m benchmarks.personal_search --data DIR --out R.json [--seed 0] [--visits 6000]

DIR: query_text.txt.gz, train.qrels.gz, test.qrels.gz and items.tsv.gz, the format in which HEM (Ai et al., SIGIR 2017)
is evaluated. A product's title is its brand and its categories: there is no other text.

Kairos is a suite that `kairos up`, `kairos catalog import`, `kairos events import` and `kairos train` have set up, and
nothing else. The purchases of train are events, but for a sample of --visits (person, query) pairs with a purchase: for
each of them a person searches, and buys the product if it is among the first 50 results, so that Kairos logs what it
showed. Then `kairos train` runs. The test pairs measure: the results that the person bought in train are left out, and
a product beyond the candidates is a miss. Each row has its own copy of the state.

"nobody" sends the same queries without a person. The baseline ranks by the share of the query's words (weighted by
rarity) that is in labels which the query contains whole, then by the number of buyers; equal scores rank before the
target. Means over pairs, with 95 % intervals by the bootstrap over queries: pairs of one query are correlated.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import snowballstemmer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.recommend_suite import Shop, running
from benchmarks.results import Results
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection

LABELS, UNTRAINED, TRAINED, NOBODY = (
    "label coverage + popularity", "Kairos, before training", "Kairos", "Kairos, nobody"
)  # fmt: skip
# Results of a visit; of a test search, page by page.
_VISIT_PAGE, _PAGES = 50, (100, 100)
_DEADLINE_S, _IN_FLIGHT = 2.0, 2
_DRAWS = 2_000
_WORD = re.compile(r"\w+")
_stem = cache(snowballstemmer.stemmer("english").stemWord)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Purchase:
    person: str
    query: str
    item: str


@dataclass(frozen=True)
class Item:
    id: str
    brand: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Data:
    items: Sequence[Item]
    train: Sequence[Purchase]
    test: Mapping[tuple[str, str], frozenset[str]]


def read(folder: Path) -> Data:
    """Raises ValueError that names a wrong line."""
    with gzip.open(folder / "query_text.txt.gz", "rt", encoding="utf-8") as file:
        queries = [line.strip() for line in file]
    with gzip.open(folder / "items.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    train, test = (_purchases(folder / f"{name}.qrels.gz", queries) for name in ("train", "test"))
    items = {row["asin"]: row for row in rows}
    items |= {each.item: {"asin": each.item} for each in (*train, *test) if each.item not in items}
    targets: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for each in test:
        targets[each.person, each.query].add(each.item)
    return Data(
        [
            Item(asin, (row.get("brand") or "").strip(), _labels(row.get("categories") or ""))
            for asin, row in items.items()
        ],
        train,
        {pair: frozenset(found) for pair, found in targets.items()},
    )


def _purchases(path: Path, queries: Sequence[str]) -> list[Purchase]:
    """Lines "user_query 0 item 1", each once."""
    found: dict[Purchase, None] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                pair, _, item, _ = line.split()
                person, query = pair.rsplit("_", 1)
                found[Purchase(person, queries[int(query)], item)] = None
            except (ValueError, IndexError):
                raise ValueError(f'{path}, line {number}: {line.strip()!r} is not "user_query 0 item 1"') from None
    return list(found)


def _labels(categories: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, categories.split("|"))))


def visits(data: Data, count: int, seed: int) -> list[Purchase]:
    """A sample of persons' queries, each with one of its purchases."""
    of_pair: dict[tuple[str, str], Purchase] = {}
    for each in data.train:
        of_pair.setdefault((each.person, each.query), each)
    pairs = list(of_pair.values())
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return [pairs[row] for row in chosen.tolist()]


def write(shop: Shop, data: Data, without: Sequence[Purchase]) -> None:
    """The catalogue, and the purchases of train a day apart; each follows a search of its query by a minute."""
    products = [
        (item.id, " ".join(filter(None, (item.brand, *item.labels))) or item.id, item.brand, " > ".join(item.labels))
        for item in data.items
    ]
    left_out, of_person = set(without), defaultdict[str, list[Purchase]](list)
    for each in data.train:
        if each not in left_out:
            of_person[each.person].append(each)
    now, rows = datetime.now(UTC), []
    for person, own in of_person.items():
        for number, each in enumerate(own):
            when, name = now - timedelta(days=min(300, len(own) - number)), f"{person}-{number}"
            rows.append((when.isoformat(), f"{name}-q", person, name, "", "search", each.query))
            bought = (when + timedelta(minutes=1)).isoformat()
            rows.append((bought, name, person, name, each.item, "purchase", ""))
    header = ("time", "event_id", "user_id", "session_id", "item_id", "type", "query")
    shop.write((("id", "title", "brand", "category"), products), (header, sorted(rows)))


def visit(target: str, chosen: Sequence[Purchase]) -> dict[str, int]:
    """Persons search, and buy what they wanted where they see it."""
    bought = 0
    with Connection(target, timeout_s=_DEADLINE_S).stub() as stub:

        def one(number: int) -> bool:
            each = chosen[number]
            request = gateway_pb2.SearchRequest(query=each.query, user_id=each.person, page_size=_VISIT_PAGE)
            answer = stub.Search(request, timeout=_DEADLINE_S)
            if each.item not in {result.product.id for result in answer.results}:
                return False
            event = event_pb2.Event(
                event_id=f"visit-{number}", user_id=each.person, item_id=each.item,
                type=event_pb2.EVENT_TYPE_PURCHASE, attribution_token=answer.attribution_token,
            )  # fmt: skip
            event.occurred_at.GetCurrentTime()
            stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[event]), timeout=_DEADLINE_S)
            return True

        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            for found in tqdm(pool.map(one, range(len(chosen))), total=len(chosen), desc="visits", mininterval=5):
                bought += found
    return {"visits": len(chosen), "purchases": bought}


def ranks(target: str, data: Data, with_person: bool, name: str) -> dict[str, Any]:
    """By pair of the test, in order: the rank from 1 of the first target, 0 for a miss."""
    known = _bought(data.train)
    with Connection(target, timeout_s=_DEADLINE_S).stub() as stub:

        def rank(pair: tuple[str, str]) -> tuple[int, float, bool]:
            person, query = pair
            seen, token, degraded, started = 0, "", False, time.perf_counter()
            for size in _PAGES:
                request = gateway_pb2.SearchRequest(
                    query=query, user_id=person if with_person else "", page_size=size, page_token=token
                )
                answer = stub.Search(request, timeout=_DEADLINE_S)
                degraded = degraded or bool(answer.degradations)
                for result in answer.results:
                    if result.product.id in data.test[pair]:
                        return seen + 1, time.perf_counter() - started, degraded
                    seen += result.product.id not in known[person]
                token = answer.next_page_token
                if not token:
                    break
            return 0, time.perf_counter() - started, degraded

        found = [rank(pair) for pair in tqdm(sorted(data.test), desc=name, unit=" pairs", mininterval=5)]
    return {
        "ranks": [each[0] for each in found],
        "report": {
            "p50_ms": round(float(np.median([each[1] for each in found])) * 1e3, 1),
            "degraded": sum(each[2] for each in found),
        },
    }


def by_labels(data: Data) -> dict[str, Any]:
    known, buyers = _bought(data.train), Counter({item.id: 0 for item in data.items})
    buyers.update(item for _, item in {(each.person, each.item) for each in data.train})
    words_of = [words(" ".join((item.brand, *item.labels))) for item in data.items]
    holders = Counter(word for own in words_of for word in own)
    labels = {label: words(label) for item in data.items for label in item.labels}
    scores: dict[str, list[tuple[float, int]]] = {}
    for query in sorted({query for _, query in data.test}):
        asked = words(query)
        rarity = {word: float(np.log1p(len(data.items) / (1 + holders[word]))) for word in asked}
        whole = {label: own for label, own in labels.items() if own <= asked}
        total, own_scores = sum(rarity.values()) or 1.0, []
        for item in data.items:
            covered = frozenset[str]().union(*(whole.get(label, frozenset()) for label in item.labels))
            share = sum(rarity[word] for word in sorted(covered)) / total
            own_scores.append((round(share, 4), buyers[item.id]))
        scores[query] = own_scores
    found = []
    for person, query in sorted(data.test):
        own = scores[query]
        best = max(own[row] for row, item in enumerate(data.items) if item.id in data.test[person, query])
        others = (
            item.id not in known[person] and item.id not in data.test[person, query] and own[row] >= best
            for row, item in enumerate(data.items)
        )
        found.append(1 + sum(others))
    return {"ranks": found, "report": {}}


def words(text: str) -> frozenset[str]:
    """Stemmed words."""
    return frozenset(map(_stem, _WORD.findall(text.casefold())))


def _bought(train: Sequence[Purchase]) -> Mapping[str, set[str]]:
    known: defaultdict[str, set[str]] = defaultdict(set)
    for each in train:
        known[each.person].add(each.item)
    return known


def reciprocal(found: Sequence[int]) -> Floats:
    return np.array([1 / rank if rank else 0.0 for rank in found])


def interval(values: Floats, queries: Sequence[str], seed: int) -> list[float]:
    """95 % interval of the mean of `values` [n], by the bootstrap over `queries` [n]."""
    _, group = np.unique(np.array(queries), return_inverse=True)
    sums, sizes = np.bincount(group, values), np.bincount(group)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (_DRAWS, len(sums)))
    return [round(float(x), 4) for x in np.percentile(sums[drawn].sum(1) / sizes[drawn].sum(1), [2.5, 97.5])]


def summary(parts: Mapping[str, Any], data: Data, seed: int) -> dict[str, Any]:
    queries = [query for _, query in sorted(data.test)]
    found: dict[str, Any] = {"pairs": len(queries), "queries": len(set(queries)), "figures": {}, "differences": {}}
    values = {name: reciprocal(part["ranks"]) for name, part in parts.items() if "ranks" in part}
    for name, own in values.items():
        first = np.array(parts[name]["ranks"])
        found["figures"][name] = {
            "mrr": round(float(own.mean()), 4), "interval_95": interval(own, queries, seed),
            "hr@10": round(float(((first > 0) & (first <= 10)).mean()), 4),
            "found": round(float((first > 0).mean()), 4),
        }  # fmt: skip
    for one, other in ((TRAINED, LABELS), (TRAINED, NOBODY), (TRAINED, UNTRAINED)):
        if one in values and other in values:
            apart = values[one] - values[other]
            found["differences"][f"{one} − {other}"] = {
                "mrr": round(float(apart.mean()), 4), "interval_95": interval(apart, queries, seed)
            }  # fmt: skip
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--visits", type=int, default=6_000)
    parser.add_argument("--work", type=Path, help="keep the suite here; a later run does not set it up again")
    arguments = parser.parse_args()
    data = read(arguments.data)
    results = Results(arguments.out, {"seed": arguments.seed, "visits": arguments.visits, "pairs": len(data.test)})
    results.part(LABELS, lambda: by_labels(data))
    with tempfile.TemporaryDirectory(prefix="kairos-personal-") as temporary:
        measure(Shop(arguments.work or Path(temporary)), data, results, arguments)
    found = summary(results.parts, data, arguments.seed)
    table = Table("", "MRR", "95 % over queries", "HR@10", "found")
    for name, own in found["figures"].items():
        table.add_row(name, f"{own['mrr']:.4f}", str(own["interval_95"]), f"{own['hr@10']:.3f}", f"{own['found']:.3f}")
    Console(width=120).print(table)
    for name, own in found["differences"].items():
        print(f"{name}: {own['mrr']:+.4f} {own['interval_95']}")
    return 0


def measure(shop: Shop, data: Data, results: Results, options: argparse.Namespace) -> None:
    chosen = visits(data, options.visits, options.seed)
    if not shop.events.is_file():
        write(shop, data, chosen)
    if not shop.is_set_up(is_trained=False):
        with running(shop) as target:
            shop.kairos(target, "catalog", "import", str(shop.products))
            shop.kairos(target, "events", "import", str(shop.events))
    measure_row(shop, data, results, UNTRAINED, with_person=True)
    if not shop.is_set_up(is_trained=True):
        with running(shop) as target:
            results.part("visits", partial(visit, target, chosen))
            shop.train(target, options.seed, None)
    measure_row(shop, data, results, TRAINED, with_person=True)
    measure_row(shop, data, results, NOBODY, with_person=False)


def measure_row(shop: Shop, data: Data, results: Results, name: str, with_person: bool) -> None:
    if name not in results.parts:
        with shop.copied() as copy, running(copy) as target:
            results.part(name, partial(ranks, target, data, with_person, name))


if __name__ == "__main__":
    sys.exit(main())
