"""Lists of the demo shop's simulated shoppers as a ranker network's examples, with the true utilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.simulated_log import SimulatedLog, page_of
from demo.catalogue import DemoProduct, build_catalogue
from demo.shoppers import DemoEvent, DemoSession, build_shoppers, preferred, simulate_sessions
from services.common.arrays import FloatArray, min_max
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from services.ranker.domain.candidate_features import features_of
from services.ranker.domain.event import Event, EventType, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.ranking_request import RankingRequest
from training.ranking.examples import Examples, Page
from training.ranking.outcomes import Outcomes

WINDOW_S = 3_600.0
_BATCH = 100
# Clicks in a list without position effects; the simulator's mean is 2.2.
_UNBIASED_CLICKS = 2


@dataclass(frozen=True)
class SimulatedLists:
    """`examples`, and for each page its ranking request. `wanted` [n] are the true utilities.

    `unbiased` [n] is 1 for items clicked in a second simulation without position effects.
    """

    examples: Examples
    requests: Sequence[RankingRequest]
    wanted: FloatArray
    unbiased: FloatArray

    def take(self, pages: npt.NDArray[np.intp]) -> SimulatedLists:
        """Selects pages. `pages` must be in ascending order."""
        rows = np.isin(self.examples.page, pages)
        chosen = [self.requests[page] for page in pages]
        return SimulatedLists(self.examples.take(pages), chosen, self.wanted[rows], self.unbiased[rows])


def simulated_lists(size: int, shoppers: int, days: int, seed: int) -> SimulatedLists:
    """Lists in the order of time. A list's features use only data from before it was shown."""
    catalogue = build_catalogue(seed, size)
    people = build_shoppers(catalogue, shoppers, seed)
    return lists_of(list(simulate_sessions(people, catalogue, days, seed)), catalogue, seed)


def lists_of(sessions: Sequence[DemoSession], catalogue: Sequence[DemoProduct], seed: int) -> SimulatedLists:
    """Lists of sessions, which must be in the order of time."""
    items, queries, version = _embedded(catalogue, sessions)
    dimensions = len(next(iter(queries.values())))
    outcomes, requests, features = Outcomes(), list[RankingRequest](), []
    with SimulatedLog(items, version, dimensions) as log:
        for what in tqdm(_timeline(sessions), desc="features", unit=" lists and events"):
            if isinstance(what, DemoEvent):
                event = _event(what)
                log.record(event)
                outcomes.add_event(event)
                continue
            page = _page(what)
            matches, query = _matches(what, items, queries[what.query]), queries[what.query]
            asked = log.request(
                what.user_id, what.item_ids, page.shown_s, matches, query.astype(np.float32) if query.any() else None
            )
            requests.append(asked)
            features.append((page, *features_of(asked)))
            log.show(page)
            outcomes.add_impressions(page)
    pages = []
    for page, user, candidates in features:
        reached = [outcomes.reached(page, [page.person], id, WINDOW_S) for id in page.ranking.item_ids]
        propensities = page.ranking.propensities.tolist()
        pages.append(
            Page(
                user, candidates, page.positions, propensities, reached, page.shown_s, page.person,
                page.ranking.ranking_id,
            )
        )  # fmt: skip
    return SimulatedLists(
        Examples.of(pages, dimensions),
        requests,
        np.concatenate([np.array(session.utilities, np.float32) for session in sessions]),
        np.concatenate([_unbiased(session, seed) for session in sessions]),
    )


def _unbiased(session: DemoSession, seed: int) -> FloatArray:
    order = preferred(session.utilities, Random(f"{seed}/unbiased/{session.session_id}"), position_cost=0.0)
    clicks = np.zeros(len(session.utilities), np.float32)
    clicks[order[:_UNBIASED_CLICKS]] = 1
    return clicks


def _timeline(sessions: Sequence[DemoSession]) -> list[DemoSession | DemoEvent]:
    """Lists and events in the order of time, a list before the events of the same moment."""
    entries: list[tuple[float, int, DemoSession | DemoEvent]] = []
    for session in sessions:
        entries.append((session.shown_at.timestamp(), 0, session))
        entries += [(event.time.timestamp(), 1, event) for event in session.events]
    return [what for _, _, what in sorted(entries, key=lambda entry: entry[:2])]


def _event(made: DemoEvent) -> Event:
    occurred_s, kind = made.time.timestamp(), EventType(made.type)
    return Event(made.event_id, made.user_id, made.session_id, made.item_id, kind, occurred_s, query=made.query)


def _page(session: DemoSession) -> Impressions:
    return page_of(
        session.session_id, session.user_id, session.session_id, session.item_ids, session.positions,
        session.shown_at.timestamp(),
    )  # fmt: skip


def _matches(session: DemoSession, items: dict[str, ItemFeatures], query: FloatArray) -> list[float]:
    """Cosines with the query, scaled to [0, 1] over the list."""
    matches: list[float] = min_max(np.array([_vector(items[id]) @ query for id in session.item_ids])).tolist()
    return matches


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
    vectors = np.vstack(
        [encoder.encode(texts[at : at + _BATCH], settings.max_product_tokens, "product") for at in batches]
    )
    items = {
        p.id: ItemFeatures(p.id, vector, encoder.model_version, float(p.price), " > ".join(p.category_path), p.brand)
        for p, vector in zip(catalogue, vectors, strict=True)
    }
    queries = sorted({session.query for session in sessions})
    found = encoder.encode(queries, settings.max_product_tokens, "query")
    # The embedded encoder reads no Chinese.
    readable = np.array([query.isascii() for query in queries], np.float32)
    return items, dict(zip(queries, found * readable[:, None], strict=True)), encoder.model_version


def _vector(item: ItemFeatures) -> FloatArray:
    if item.vector is None:
        raise ValueError(f"{item.item_id} has no vector")
    return item.vector
