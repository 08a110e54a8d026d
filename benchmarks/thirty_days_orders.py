"""What training changes in a shop's pages, everything else being equal.

    python -m benchmarks.thirty_days_orders --out R.json [--nights 10 20 30] [--seeds 4201 4202 4203]

The shop, shoppers and visits of `benchmarks.thirty_days`, served with the weights of the settings. After some nights
the shop is copied, the code of `kairos train` trains on it, and every shopper gets a recommendation and a search three
times, each time from a copy of the same shop: without what was trained, with the shopper model and its fitted weights,
and with the ranking model too. What does not pass its guardrail does not serve, as in a shop.

`thirty_days` also has what follows from better pages, more clicks to learn from, but two of its runs drift apart by
chance, since shoppers follow each other through popularity. Here nothing but the trained versions differs, so that some
hundred shoppers tell them apart. Reported: the mean true utility of the first ten products, and paired differences with
95 % intervals by the bootstrap over the shoppers of all seeds.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.results import Results
from benchmarks.thirty_days import TENANT, Training, promote, shop_of
from benchmarks.thirty_days_shop import PAGE, TIMEOUT_S, TOP, Clock, Shop, Visit, Visitor
from demo.loading import load_products
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import InProcessSuite, in_process_suite
from services.ranker.models.served_shoppers import FOLDER
from services.ranker.settings import RankerSettings
from training.bootstrap import mean_interval

KINDS = ("shopper", "ranking")
# What is taken out of a copy: the pointers of the registries.
POLICIES = {"hand-set weights": KINDS, "fitted weights": ("ranking",), "full stack": ()}
PAGES = ("recommended", "found")
# Until a suite has read its registry, also on a busy machine.
_SETTLE_S = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--products", type=int, default=400)
    parser.add_argument("--shoppers", type=int, default=120)
    parser.add_argument("--nights", type=int, nargs="*", default=[10, 20, 30])
    parser.add_argument("--seeds", type=int, nargs="*", default=[4_201, 4_202, 4_203])
    arguments = parser.parse_args()
    results = Results(arguments.out, {name: getattr(arguments, name) for name in ("products", "shoppers", "nights")})
    for seed in arguments.seeds:
        shop = shop_of(seed, arguments.products, arguments.shoppers)
        results.part(f"seed {seed}", partial(compared, shop, arguments.nights))
    show([results.parts[f"seed {seed}"] for seed in arguments.seeds], arguments.nights)
    return 0


def compared(shop: Shop, nights: Sequence[int]) -> dict[str, Any]:
    """By night and policy, the utilities of each shopper's pages, and what training said."""
    began, clock, random, found = time.monotonic(), Clock(), Random(), dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="kairos-days-") as made, tqdm(total=max(nights), unit=" days") as bar:
        folder, before = Path(made) / "shop", 0
        folder.mkdir()
        for night in nights:
            with _served(folder, clock, random) as (suite, connection), connection.stub() as stub:
                if not before:
                    load_products(connection, folder, shop.products)
                visitor = Visitor(shop, stub, clock, random)
                for day in range(before, night):
                    for visit in shop.visits(day):
                        visitor.visit(visit)
                    bar.update()
                suite.wait_until_counted()
            before = night
            found[str(night)] = _policies(shop, folder, Path(made) / "copy", night, clock, random)
    return {"seconds": round(time.monotonic() - began), "nights": found}


def show(parts: Sequence[Any], nights: Sequence[int]) -> None:
    console = Console()
    for night in map(str, nights):
        table = Table("", "page", "mean", "minus hand-set (95 %)", "of each seed", "trained", title=f"night {night}")
        each = [part["nights"][night] for part in parts]
        for policy in POLICIES:
            for page, title in enumerate(PAGES):
                own, first = (
                    [np.array(one["pages"][name], np.float64)[:, page] for one in each]
                    for name in (policy, next(iter(POLICIES)))
                )
                differences = [a - b for a, b in zip(own, first, strict=True)]
                low, high = mean_interval(np.concatenate(differences), 0, 3)
                table.add_row(
                    policy, title, f"{np.nanmean(np.concatenate(own)):.3f}",
                    f"{np.nanmean(np.concatenate(differences)):+.3f} ({low:+.3f} to {high:+.3f})",
                    " ".join(f"{np.nanmean(one):+.3f}" for one in differences),
                    "; ".join(" ".join(one["trained"].get(policy, [])) for one in each),
                )  # fmt: skip
        console.print(table)


@contextmanager
def _served(folder: Path, clock: Clock, random: Random) -> Iterator[tuple[InProcessSuite, Connection]]:
    with in_process_suite(folder, clock=clock, random=random) as suite:
        yield suite, Connection(suite.gateway_target, timeout_s=TIMEOUT_S)


def _policies(shop: Shop, folder: Path, copy: Path, night: int, clock: Clock, random: Random) -> dict[str, Any]:
    """The same moment for every policy: the morning after the night."""
    trained = copy.with_name("trained")
    shutil.copytree(folder, trained)
    morning = shop.morning(night)
    clock.set(morning)
    with _served(trained, clock, random) as (_, connection):
        training = Training(connection, trained, clock)
        outcomes = {outcome.kind: [outcome.result.value, outcome.reason] for outcome in training.run(KINDS)}
        for registry in (training.models.shoppers, training.models.rankers):
            promote(registry)
    pages = dict[str, list[list[float]]]()
    for policy, left_out in POLICIES.items():
        shutil.copytree(trained, copy)
        for kind in left_out:
            models = RankerSettings(data_dir=copy / "ranker").models_dir / TENANT
            (models / (FOLDER if kind == "shopper" else "") / "rollout.json").unlink(missing_ok=True)
        clock.set(morning)
        with _served(copy, clock, random) as (_, connection), connection.stub() as stub:
            time.sleep(_SETTLE_S)
            pages[policy] = []
            for visit in shop.every_shopper(night):
                random.seed(f"{shop.seed}/{night}/{visit.shopper}")
                pages[policy].append([_utility(shop, stub, visit, page) for page in PAGES])
        shutil.rmtree(copy)
    shutil.rmtree(trained)
    return {
        "pages": pages,
        "trained": {"fitted weights": outcomes["shopper"], "full stack": outcomes["ranking"]},
    }


def _utility(shop: Shop, stub: Any, visit: Visit, page: str) -> float:
    user = shop.shoppers[visit.shopper].id
    if page == "found":
        query = gateway_pb2.SearchRequest(query=shop.query(visit), user_id=user, page_size=PAGE)
        answer = stub.Search(query, timeout=TIMEOUT_S)
    else:
        answer = stub.Recommend(gateway_pb2.RecommendRequest(user_id=user, page_size=PAGE), timeout=TIMEOUT_S)
    values = shop.utility(visit, [result.product.id for result in answer.results])
    return float(np.mean(values[:TOP])) if values else math.nan


if __name__ == "__main__":
    sys.exit(main())
