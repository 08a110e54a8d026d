"""Lists of the demo shop's simulated shoppers as a ranker network's examples, with the truth beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from demo.catalogue import DemoProduct, build_catalogue
from demo.shoppers import DemoSession, build_shoppers, preferred, simulate_sessions
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from services.ranker.domain.event import Circumstances, Event, EventType, FloatArray, Impressions, ItemFeatures
from services.ranker.domain.features import features_of
from services.ranker.domain.ranking import RankingRequest
from training.ranking.examples import Examples, Showing
from training.ranking.histories import Histories
from training.ranking.reading import request_of

WINDOW_S = 3_600.0
_BATCH = 100
# Clicks in a list where all places are alike; the simulator's mean is 2.2.
_UNBIASED_CLICKS = 2


@dataclass(frozen=True)
class SimulatedLists:
    """`examples`, and beside each showing the request behind it; `wanted` [n] are the true utilities.

    `unbiased` [n] is 1 for what the shopper would have clicked, drawn once more, had all places been alike.
    """

    examples: Examples
    requests: Sequence[RankingRequest]
    wanted: FloatArray
    unbiased: FloatArray

    def take(self, showings: npt.NDArray[np.intp]) -> SimulatedLists:
        """`showings` ascending."""
        rows = np.isin(self.examples.showing, showings)
        chosen = [self.requests[showing] for showing in showings]
        return SimulatedLists(self.examples.take(showings), chosen, self.wanted[rows], self.unbiased[rows])


def simulated_lists(size: int, shoppers: int, days: int, seed: int) -> SimulatedLists:
    """In the order of time; what a list's features tell was known when it was shown."""
    catalogue = build_catalogue(seed, size)
    people = build_shoppers(catalogue, shoppers, seed)
    return lists_of(list(simulate_sessions(people, catalogue, days, seed)), catalogue, seed)


def lists_of(sessions: Sequence[DemoSession], catalogue: Sequence[DemoProduct], seed: int) -> SimulatedLists:
    """Of sessions in the order of time."""
    items, queries, version = _embedded(catalogue, sessions)
    dimensions = len(next(iter(queries.values())))
    histories, pages = Histories(), []
    for session in sessions:
        for made in session.events:
            occurred_s, kind = made.time.timestamp(), EventType(made.type)
            histories.add_event(
                Event(made.event_id, made.user_id, made.session_id, made.item_id, kind, occurred_s, query=made.query)
            )
        pages.append(_page(session, items, queries, version))
        histories.add_impressions(pages[-1])
    showings, requests = [], []
    for page in tqdm(pages, desc="features", unit=" lists"):
        requests.append(request_of(page, histories, items, version, dimensions))
        user, candidates = features_of(requests[-1])
        reached = [histories.reached(page, item_id, WINDOW_S) for item_id in page.item_ids]
        showings.append(
            Showing(
                user,
                candidates,
                page.positions,
                page.propensities,
                reached,
                page.shown_s,
                page.user_id,
                page.ranking_id,
            )
        )
    return SimulatedLists(
        Examples.of(showings, dimensions),
        requests,
        np.concatenate([np.array(session.utilities, np.float32) for session in sessions]),
        np.concatenate([_unbiased(session, seed) for session in sessions]),
    )


def _unbiased(session: DemoSession, seed: int) -> FloatArray:
    order = preferred(session.utilities, Random(f"{seed}/unbiased/{session.session_id}"), position_cost=0.0)
    clicks = np.zeros(len(session.utilities), np.float32)
    clicks[order[:_UNBIASED_CLICKS]] = 1
    return clicks


def _page(
    session: DemoSession, items: dict[str, ItemFeatures], queries: dict[str, FloatArray], version: str
) -> Impressions:
    query = queries[session.query]
    scores = np.array([_vector(items[item_id]) @ query for item_id in session.item_ids])
    spread = float(np.ptp(scores))
    matches = (scores - scores.min()) / spread if spread > 0 else np.ones(len(scores))
    around = Circumstances(
        matches=tuple(matches.tolist()),
        query_vector=query.astype("<f2").tobytes() if query.any() else b"",
        vector_version=version,
    )
    return Impressions(
        session.session_id, session.user_id, session.session_id, session.query, session.shown_at.timestamp(),
        "the shop's order", session.item_ids, session.positions, (1.0,) * len(session.item_ids), around,
    )  # fmt: skip


def _embedded(
    catalogue: Sequence[DemoProduct], sessions: Sequence[DemoSession]
) -> tuple[dict[str, ItemFeatures], dict[str, FloatArray], str]:
    """(items, unit vectors of queries, zero for what the encoder cannot read, model version)."""
    settings = QueryEncoderSettings()
    encoder = build_encoder(settings, 1)
    texts = [
        " ".join((p.title, p.brand, *p.category_path, *(v for of in p.attributes.values() for v in of), p.description))
        for p in catalogue
    ]
    batches = tqdm(range(0, len(texts), _BATCH), desc="embedding", unit=f"x{_BATCH}")
    vectors = np.vstack([encoder.encode(texts[at : at + _BATCH], settings.max_product_tokens) for at in batches])
    items = {
        p.id: ItemFeatures(p.id, vector, encoder.model_version, float(p.price), " > ".join(p.category_path), p.brand)
        for p, vector in zip(catalogue, vectors, strict=True)
    }
    queries = sorted({session.query for session in sessions})
    found = encoder.encode(queries, settings.max_product_tokens)
    # The embedded encoder reads no Chinese.
    readable = np.array([query.isascii() for query in queries], np.float32)
    return items, dict(zip(queries, found * readable[:, None], strict=True)), encoder.model_version


def _vector(item: ItemFeatures) -> FloatArray:
    if item.vector is None:
        raise ValueError(f"{item.item_id} has no vector")
    return item.vector
