"""The traffic of the load benchmarks: serialised requests, replayed from the sessions of the demo shop's shoppers.

A shop's mix, in shares of all calls; `KINDS` has the numbers. Searches, recommendations and events come from simulated
sessions: the shopper, the session, the query, the clicked product. A second page needs a token that a gateway has
sealed, so `refresh` makes a few searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from demo.catalogue import DemoProduct
from demo.shoppers import DemoSession, build_shoppers, simulate_sessions
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection

# Shopper and day of the simulated events, as demo.loading imports them.
DAYS = 14
SERVICE = "/kairos.gateway.v1.GatewayService/"
# Second pages to choose from. The gateway keeps a ranking for ten minutes.
_PAGES = 20
_PREFIX = 5


@dataclass(frozen=True)
class Kind:
    """One kind of call, and its share of all calls."""

    name: str
    method: str
    share: float
    response: type[Message]

    @property
    def path(self) -> str:
        return SERVICE + self.method


KINDS = (
    Kind("search", "Search", 0.45, gateway_pb2.SearchResponse),
    Kind("search with facets", "Search", 0.10, gateway_pb2.SearchResponse),
    Kind("second page", "Search", 0.10, gateway_pb2.SearchResponse),
    Kind("explained search", "Search", 0.05, gateway_pb2.SearchResponse),
    Kind("recommend", "Recommend", 0.10, gateway_pb2.RecommendResponse),
    Kind("suggest", "Suggest", 0.10, gateway_pb2.SuggestResponse),
    Kind("record events", "RecordEvents", 0.10, gateway_pb2.RecordEventsResponse),
)
SEARCH = (KINDS[0],)
# Kinds whose answer has a fallback for every stage.
WITH_FALLBACKS = (KINDS[0], KINDS[1], KINDS[3], KINDS[4])


@dataclass(frozen=True)
class Arrival:
    """One call. `due_s`: seconds from the begin of the phase. `kind`: index in the kinds of the traffic."""

    due_s: float
    kind: int
    payload: bytes


@dataclass(frozen=True)
class Visit:
    """What a request is made of. `item_id`: the product that is clicked; empty: none is known."""

    query: str
    user_id: str = ""
    session_id: str = ""
    item_id: str = ""


def demo_visits(catalogue: list[DemoProduct], shoppers: int) -> list[Visit]:
    """The sessions of the demo shop's shoppers: their query, and the first product that they clicked."""
    sessions = simulate_sessions(build_shoppers(catalogue, shoppers), catalogue, DAYS)
    titles = {product.id: product.title for product in catalogue}
    return [visit for session in sessions for visit in _visits(session, titles)]


def _visits(session: DemoSession, titles: dict[str, str]) -> list[Visit]:
    """Shoppers type a shelf's name, and the first words of the product that they then click."""
    clicked = next((event.item_id for event in session.events if event.type == "click"), "")
    queries = [session.query, *([" ".join(titles[clicked].split()[:4])] if clicked in titles else [])]
    return [Visit(query, session.user_id, session.session_id, clicked) for query in queries]


class Traffic:
    """Draws requests of `kinds`, in the proportion of their shares, from `visits`."""

    def __init__(self, visits: Sequence[Visit], kinds: Sequence[Kind] = KINDS) -> None:
        self.kinds = tuple(kinds)
        self._visits, self._pages = visits, list[bytes]()
        self._events = 0

    def refresh(self, connection: Connection, random: Random) -> None:
        """Makes searches without load, whose second pages later requests ask for."""
        if not any(kind.name == "second page" for kind in self.kinds):
            return
        self._pages = []
        with connection.stub() as stub:
            for visit in random.choices(self._visits, k=_PAGES):
                request = gateway_pb2.SearchRequest(query=visit.query, user_id=visit.user_id)
                request.page_token = stub.Search(request, timeout=connection.timeout_s).next_page_token
                if request.page_token:
                    self._pages.append(request.SerializeToString())
        if not self._pages:
            raise SystemExit(
                "no search has a second page: the gateway must serve the demo shop (`make demo` imports it)"
            )

    def arrivals(self, due_s: npt.NDArray[np.float64], random: Random) -> list[Arrival]:
        """A request for each of the times `due_s` [arrivals], seconds from the begin of the phase."""
        kinds = random.choices(range(len(self.kinds)), [kind.share for kind in self.kinds], k=len(due_s))
        return [
            Arrival(due, kind, self._payload(self.kinds[kind].name, random))
            for due, kind in zip(due_s.tolist(), kinds, strict=True)
        ]

    def _payload(self, kind: str, random: Random) -> bytes:
        if kind == "second page":
            return random.choice(self._pages)
        visit = random.choice(self._visits)
        person: dict[str, Any] = {"user_id": visit.user_id, "session_id": visit.session_id}
        message: Message
        if kind == "recommend":
            message = gateway_pb2.RecommendRequest(**person)
        elif kind == "suggest":
            message = gateway_pb2.SuggestRequest(prefix=visit.query[: random.randint(1, _PREFIX)])
        elif kind == "record events":
            self._events += 1
            event = event_pb2.Event(
                event_id=f"load-{random.getrandbits(64):x}-{self._events}", item_id=visit.item_id or "unknown",
                type=event_pb2.EVENT_TYPE_CLICK, **person,
            )  # fmt: skip
            message = gateway_pb2.RecordEventsRequest(events=[event])
        else:
            facets = ["brand", "category"] if kind == "search with facets" else []
            message = gateway_pb2.SearchRequest(
                query=visit.query, facets=facets, explain=kind == "explained search", **person
            )
        return message.SerializeToString()


def poisson(rates: Sequence[tuple[float, float]], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Arrival times in seconds, ascending, of a Poisson process with each (calls a second, seconds) in turn."""
    times, began_s = list[npt.NDArray[np.float64]](), 0.0
    for rate, seconds in rates:
        count = random.poisson(rate * seconds)
        times.append(began_s + np.sort(random.uniform(0, seconds, count)))
        began_s += seconds
    return np.concatenate(times)
