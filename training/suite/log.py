"""What was read from the suite, as domain objects: events, pages with their logged features, and items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from kairos.common.v1 import event_pb2, product_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.arrays import FloatArray, unit_rows
from services.common.convert import product_from_proto, tensor_from_proto, time_from_proto, vectors_from_proto
from services.common.product import Product
from services.ranker.convert_events import events_from_proto
from services.ranker.domain.candidate_source import CandidateSource
from services.ranker.domain.event import Event, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.stored_ranking import Interleaving, LoggedFeatures, LoggedPolicy, StoredRanking
from training.suite.reading import EVENTS, IMPRESSIONS, RANKINGS
from training.suite.work import WorkFolder

_AT_ONCE = 1_000
# Of the log of impressions, the newest pages are read: more would need more memory, and say little more.
MOST_PAGES = 30_000


class ReadLog:
    """As training.ranking.reading.ExampleLog, of one tenant. `now_s` is the time at which the log was read."""

    def __init__(self, work: WorkFolder, vector_version: str, now_s: float) -> None:
        self._work, self._vector_version, self._now_s = work, vector_version, now_s
        self._items: dict[str, ItemFeatures] | None = None

    def events(self) -> Iterator[Event]:
        """In the order of recording."""
        position = 0
        while batch := self.events_after("", position, _AT_ONCE):
            yield from (event for _, event in batch)
            position = batch[-1][0]

    def events_after(self, tenant: str, position: int, limit: int, person: str = "") -> list[tuple[int, Event]]:
        read = list(self._work.records(EVENTS, position, min(limit, _AT_ONCE)))
        if not read:
            return []
        message = ranker_pb2.RecordEventsRequest(events=[event_pb2.Event.FromString(body) for _, body in read])
        events = events_from_proto(message, self._now_s)
        found = zip((position for position, _ in read), events, strict=True)
        return [(position, event) for position, event in found if not person or event.person == person]

    def impressions_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, Impressions]]:
        first = self._work.count(IMPRESSIONS) - MOST_PAGES
        read = self._work.records(IMPRESSIONS, max(position, first), limit)
        found = ((position, page_from_proto(event_pb2.Impressions.FromString(body))) for position, body in read)
        return [(position, page) for position, page in found if not person or page.person == person]

    def pages(self) -> Iterator[Impressions]:
        """The newest MOST_PAGES pages that were shown, in the order of recording."""
        first = self._work.count(IMPRESSIONS) - MOST_PAGES
        for _, body in self._work.records(IMPRESSIONS, max(0, first)):
            yield page_from_proto(event_pb2.Impressions.FromString(body))

    def rankings(self) -> Iterator[Impressions]:
        """Those that were logged whole, with all their candidates."""
        for _, body in self._work.records(RANKINGS):
            yield page_from_proto(event_pb2.Impressions.FromString(body))

    def items(self, tenant: str, item_ids: Sequence[str]) -> dict[str, ItemFeatures]:
        if self._items is None:
            self._items = {item.item_id: item for item in self._all_items()}
        return {item_id: self._items[item_id] for item_id in item_ids if item_id in self._items}

    def persons(self, tenant: str, persons: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The gateway gives events and pages under the keys that they have now."""
        return {person: (person,) for person in persons}

    def _all_items(self) -> Iterator[ItemFeatures]:
        for stored in self._work.products():
            product = product_of(stored.body)
            vector = np.frombuffer(stored.text, np.float16).astype(np.float32) if stored.text else None
            price = float(product.price.amount) if product.price is not None else float("nan")
            yield ItemFeatures(
                stored.id, vector, self._vector_version, price, product.category, product.brand, product.group
            )


def product_of(body: bytes) -> Product:
    return product_from_proto(product_pb2.Product.FromString(body), "product")


def vectors_of(bodies: Sequence[bytes]) -> FloatArray:
    """Unit vectors [n, d] from float16; rows of zeros where there is none. [n, 0] if no product has one."""
    widths = {len(body) // 2 for body in bodies if body}
    if len(widths) > 1:
        raise ValueError(f"the catalogue has vectors of several lengths: {sorted(widths)}; finish the re-embedding")
    width = widths.pop() if widths else 0
    rows = np.zeros((len(bodies), width), np.float32)
    for row, body in enumerate(bodies):
        if body:
            rows[row] = np.frombuffer(body, np.float16)
    return unit_rows(rows)


def page_from_proto(message: event_pb2.Impressions) -> Impressions:
    """One page of the log; without logged features if the ranker did not make its order."""
    count = len(message.item_ids)
    ranking = StoredRanking(
        message.ranking_id, message.user_id, message.visitor_id, message.session_id, message.query,
        message.model_version, list(message.item_ids), np.zeros(count, np.float32),
        np.array(message.propensities, np.float32), count,
        time_from_proto(message.shown_at, "shown_at").timestamp(), _source(message.candidate_source),
        logged=_logged(message), policy=_policy(message), interleaving=_interleaving(message),
    )  # fmt: skip
    return Impressions(ranking, tuple(message.positions), ranking.ranked_s)


def _source(name: str) -> CandidateSource:
    """Of a source that a newer suite knows, and of an older log: UNSPECIFIED."""
    known = {source.value: source for source in CandidateSource}
    return known.get(name, CandidateSource.UNSPECIFIED)


def _policy(message: event_pb2.Impressions) -> LoggedPolicy | None:
    if not message.policy_positions:
        return None
    return LoggedPolicy(
        np.array(message.policy_positions, np.int32), np.array(message.tiers, np.int32), message.exploration_share
    )


def _interleaving(message: event_pb2.Impressions) -> Interleaving | None:
    given = message.interleaving
    if len(given.arms) != 2:
        return None
    return Interleaving(given.experiment, (given.arms[0], given.arms[1]), list(given.teams))


def _logged(message: event_pb2.Impressions) -> LoggedFeatures | None:
    if not message.HasField("person_features") or not message.HasField("features"):
        return None
    person = message.person_features
    long_term = vectors_from_proto(person.long_term, "person_features.long_term")[0]
    query = vectors_from_proto(message.query_vector, "query_vector")[0] if message.HasField("query_vector") else None
    return LoggedFeatures(
        person.features_version, person.long_term.model_version, tuple(message.feature_names),
        tensor_from_proto(message.features, "features").astype(np.float32), list(person.event_item_ids),
        tensor_from_proto(person.event_types, "person_features.event_types").astype(np.int64),
        tensor_from_proto(person.event_numbers, "person_features.event_numbers").astype(np.float32), long_term,
        np.zeros_like(long_term) if query is None else query,
        tensor_from_proto(person.context, "person_features.context").astype(np.float32),
    )  # fmt: skip


def batched(values: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(values)
    while batch := list(islice(rest, size)):
        yield batch
