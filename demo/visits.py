"""`python -m demo.visits`: simulated shoppers visit the home page of a running demo shop, through its gateway.

Each shopper has looked at a few products of a favourite shelf, and opens the home page: clicks and purchases there
depend on what the shop shows. docs/how-to/experiments.md compares two home pages with it.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

import typer

from demo.catalogue import DemoProduct, build_catalogue
from demo.shoppers import Shopper, build_shoppers, preferred, true_utility
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection

_PAGE = 10
# Utility of leaving without a click, and of leaving without buying what was clicked.
_CLICK_BAR, _PURCHASE_BAR = 4.5, 5.0
_CLICKED_BEFORE = 3


@dataclass
class Visits:
    """Counts of what happened on the home page."""

    pages: int = 0
    clicks: int = 0
    purchases: int = 0


def visit(
    stub: gateway_pb2_grpc.GatewayServiceStub, connection: Connection, products: Mapping[str, DemoProduct],
    shopper: Shopper, seed: int, run: str,
) -> Visits:  # fmt: skip
    """One shopper: clicks on products of a shelf, then the home page."""
    random, done, visitor = Random(f"{seed}/visit/{shopper.id}"), Visits(pages=1), f"{run}-{shopper.id}"
    shelf = max(shopper.shelves, key=lambda path: shopper.shelves[path])
    seen = [product.id for product in products.values() if product.category_path == shelf]
    _record(stub, connection, [_event(visitor, id) for id in random.sample(seen, min(len(seen), _CLICKED_BEFORE))])
    asked = gateway_pb2.RecommendRequest(visitor_id=visitor, placement="home", page_size=_PAGE)
    page = stub.Recommend(asked, timeout=connection.timeout_s, metadata=connection.metadata)
    clicked = _in_order(page.results, products, shopper, random, _CLICK_BAR)
    bought = _in_order(clicked[:1], products, shopper, random, _PURCHASE_BAR)
    events = [_event(visitor, one.product.id, token=page.attribution_token) for one in clicked]
    for one in bought:
        event = _event(visitor, one.product.id, event_pb2.EVENT_TYPE_PURCHASE, page.attribution_token)
        event.price.CopyFrom(one.price.offer)
        events.append(event)
    _record(stub, connection, events)
    done.clicks, done.purchases = len(clicked), len(bought)
    return done


def _in_order(
    results: Sequence[gateway_pb2.Result], products: Mapping[str, DemoProduct], shopper: Shopper, random: Random,
    bar: float,
) -> list[gateway_pb2.Result]:  # fmt: skip
    """What the shopper likes better than to leave, best first."""
    utilities = [_utility(shopper, products.get(result.product.id)) for result in results]
    order = preferred([*utilities, bar], random, position_cost=0.0)
    return [results[place] for place in order[: order.index(len(results))]]


def _utility(shopper: Shopper, product: DemoProduct | None) -> float:
    """A product that is not of the demo shop is of no interest."""
    return -math.inf if product is None else true_utility(shopper, product)


def _event(
    visitor: str, item_id: str, kind: event_pb2.EventType.ValueType = event_pb2.EVENT_TYPE_CLICK, token: str = ""
) -> event_pb2.Event:
    return event_pb2.Event(
        event_id=uuid.uuid4().hex, visitor_id=visitor, item_id=item_id, type=kind, attribution_token=token
    )  # fmt: skip


def _record(
    stub: gateway_pb2_grpc.GatewayServiceStub, connection: Connection, events: Sequence[event_pb2.Event]
) -> None:
    if events:
        request = gateway_pb2.RecordEventsRequest(events=events)
        stub.RecordEvents(request, timeout=connection.timeout_s, metadata=connection.metadata)


def main(
    shoppers: Annotated[int, typer.Option(help="Number of simulated shoppers.", min=1)] = 300,
    size: Annotated[int, typer.Option(help="Number of products of the shop, as for `python -m demo`.", min=1)] = 3000,
    seed: Annotated[int, typer.Option(help="Seed of the shoppers and of what they do.")] = 7,
    target: Annotated[
        str, typer.Option(envvar="KAIROS_TARGET", help="Address of the gateway, host:port.")
    ] = "127.0.0.1:50050",
    api_key: Annotated[str, typer.Option(envvar="KAIROS_API_KEY", help="API key. Empty: none is sent.")] = "",
) -> None:
    """Let simulated shoppers visit the home page of the demo shop. Their ids are new in each run."""
    connection, run = Connection(target, api_key, timeout_s=10.0), uuid.uuid4().hex[:8]
    catalogue = build_catalogue(size=size)
    products = {product.id: product for product in catalogue}
    with connection.stub() as stub, ThreadPoolExecutor(2) as pool:
        visits = list(
            pool.map(
                lambda one: visit(stub, connection, products, one, seed, run),
                build_shoppers(catalogue, shoppers, seed),
            )
        )
    total: dict[str, Any] = {name: sum(getattr(one, name) for one in visits) for name in vars(Visits())}
    print(", ".join(f"{count} {name}" for name, count in total.items()))


if __name__ == "__main__":
    typer.run(main)
