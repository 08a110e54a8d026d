"""FaqIndex on Qdrant, Edge and server alike: a collection beside that of the products, see faq_points.py.

The entries are in memory as well, with the words of their questions: the engine finds questions, and what they have in
common with the one that was asked is computed here. A write through this process shows at once. Changes by other
processes are looked for once a second.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import structlog
from cachetools import LRUCache

from services.common.arrays import FloatArray, unit_rows
from services.common.errors import Conflict
from services.common.faq import MAX_ENTRIES, MAX_QUESTIONS, FaqEntry
from services.common.periodic import Periodic
from services.retrieval.adapters.bm25 import Bm25Encoder, numbers_of
from services.retrieval.adapters.collection import Collection, Collections, VectorQuery
from services.retrieval.adapters.faq_points import points_of, question_key, unit
from services.retrieval.adapters.faq_state import FaqState, counts_of, loaded, sample
from services.retrieval.adapters.points import LEXICAL, PointData, Where
from services.retrieval.domain.faq.confidence import (
    ANSWERS_FROM,
    Calibration,
    Evidence,
    Example,
)
from services.retrieval.domain.faq.matching import FaqMatch, FoundQuestion, in_order, scored
from services.retrieval.domain.faq.wording import Wording, coverage, spelled_alike
from services.retrieval.ports import FaqAnswer, Vectors

# Questions that each leg finds. One entry may have 51.
_DEPTH = 60
# Questions of the calibration in one batch: Edge holds the GIL during a batch, and searches wait.
_ASKED_AT_ONCE = 8
# Models of which vectors are kept: the old and the new one while a shop changes.
_MAX_MODELS = 2
_FOLLOW_S = 1.0
# A tenant without a FAQ is looked at each so many seconds: there may be many of them.
_ABSENT_ROUNDS = 10
# Wordings that a process keeps: a question is compared with tens of questions, mostly the same ones.
_REMEMBERED = 16_384
# Tenants whose entries, or whose lack of entries, a process remembers.
_MAX_TENANTS = 1_000
_log = structlog.get_logger("kairos.retrieval.faq")


class QdrantFaq:
    """See ports.FaqIndex. `collections` are shared with the products and closed by them."""

    def __init__(
        self,
        collections: Collections,
        encoder: Bm25Encoder,
        most_entries: int = MAX_ENTRIES,
        most_questions: int = MAX_QUESTIONS,
    ) -> None:
        self._collections, self._encoder = collections, encoder
        self._most = {"entries": most_entries, "questions": most_questions}
        self._states: LRUCache[str, FaqState] = LRUCache(_MAX_TENANTS)
        self._reading = threading.Lock()
        self._writing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._rounds = 0
        self._following = Periodic("faq", self._follow, _FOLLOW_S)

    def upsert(self, tenant: str, entries: Sequence[FaqEntry], vectors: Sequence[Vectors]) -> tuple[int, int]:
        with self._writing[tenant]:
            state = self._read(tenant)
            collection = state.collection or self._collections.create_faq(tenant)
            self._check_size(state, entries)
            rows = self._spaces_for(collection, vectors)
            changed, unchanged, points = list[FaqEntry](), 0, list[PointData]()
            kept = self._kept_vectors(state, collection, entries)
            first = 0
            for entry in entries:
                known = state.entries.get(entry.id)
                count = len(entry.questions)
                its = [
                    {using: found for using, values in rows.items() if (found := unit(values[row])) is not None}
                    for row in range(first, first + count)
                ]
                first += count
                if known is not None and _is_unchanged(entry, known):
                    unchanged += 1
                    entry = known
                    its = [{**kept.get(question_key(entry.id, n), {}), **new} for n, new in enumerate(its)]
                else:
                    entry = replace(entry, version=1 if known is None else known.version + 1)
                    changed.append(entry)
                points.extend(points_of(entry, self._encoder, its))
            collection.upsert(points)
            # Questions that an entry does not have any more. Until then nobody finds them: their numbers are too high.
            gone = [
                question_key(entry.id, number)
                for entry in changed
                if (known := state.entries.get(entry.id)) is not None
                for number in range(len(entry.questions), len(known.questions))
            ]
            if gone:
                collection.delete(gone)
            self._renew(tenant)
            return len(changed), unchanged

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        with self._writing[tenant]:
            state = self._read(tenant)
            known = [state.entries[id] for id in ids if id in state.entries]
            if known and state.collection is not None:
                keys = [question_key(entry.id, n) for entry in known for n in range(len(entry.questions))]
                state.collection.delete(keys)
                self._renew(tenant)
            return [id for id in ids if id not in state.entries]

    def entries(self, tenant: str, after_id: str, limit: int) -> list[FaqEntry]:
        known = self._state(tenant).entries
        return [known[id] for id in sorted(id for id in known if id > after_id)[:limit]]

    def has_entries(self, tenant: str) -> bool | None:
        with self._reading:
            state = self._states.get(tenant)
        return None if state is None else bool(state.entries)

    def match(
        self, tenant: str, question: str, vectors: Sequence[Vectors], language: str, now_s: float, limit: int
    ) -> FaqAnswer:
        state = self._state(tenant)
        if state.collection is None or not state.entries:
            return FaqAnswer((), False)
        vector = next((v for v in vectors if v.model_version in state.spaces and v.values[0].any()), None)
        is_unknown = vector is None and bool(state.spaces) and any(v.values[0].any() for v in vectors)
        version = "" if vector is None else vector.model_version
        asked = _Asked(question, None if vector is None else unit_rows(vector.values)[0])
        excluded = frozenset(key for entry, keys in state.dated if not entry.is_valid_at(now_s) for key in keys)
        (found,) = self._found(state, version, [asked], [excluded])
        order = in_order(scored(found), state.calibration(version), language)[:limit]
        matches = tuple(
            FaqMatch(state.entries[each.best.entry_id], share, each.best.question, each.similarity)
            for each, share in order
        )
        return FaqAnswer(matches, bool(matches) and matches[0].confidence >= ANSWERS_FROM, is_unknown)

    def close(self) -> None:
        self._following.close()

    def _check_size(self, state: FaqState, entries: Sequence[FaqEntry]) -> None:
        after = {**state.entries, **{entry.id: entry for entry in entries}}
        counts = {"entries": len(after), "questions": sum(len(entry.questions) for entry in after.values())}
        for name, count in counts.items():
            if count > self._most[name]:
                raise Conflict(
                    f"entries: the FAQ would have {count} {name}, and at most {self._most[name]} are kept; delete some "
                    "with `kairos faq delete`"
                )

    def _kept_vectors(
        self, state: FaqState, collection: Collection, entries: Sequence[FaqEntry]
    ) -> dict[int, dict[str, list[float]]]:
        """Of the entries whose content is stored, by every model of which there are vectors: a new model beside the
        previous one leaves those of the previous one.
        """
        spaces = [space.using for space in collection.item_spaces]
        keys = [
            question_key(entry.id, number)
            for entry in entries
            if (known := state.entries.get(entry.id)) is not None and _is_unchanged(entry, known)
            for number in range(len(entry.questions))
        ]
        return collection.vectors(keys, spaces) if spaces and keys else {}

    def _spaces_for(self, collection: Collection, vectors: Sequence[Vectors]) -> dict[str, FloatArray]:
        """The vectors by their names in the collection. The oldest model leaves if there are too many."""
        versions = [each.model_version for each in vectors]
        known = {space.model_version: space for space in collection.item_spaces}
        new = [each for each in vectors if each.model_version not in known and each.values.shape[1]]
        for space in [space for version, space in known.items() if version not in versions]:
            if len(known) + len(new) > _MAX_MODELS:
                collection.drop_items(space)
                del known[space.model_version]
        for each in new[: _MAX_MODELS - len(known)]:
            space = collection.begin_items(each.model_version, each.values.shape[1], None)
            collection.complete_items(space)
            known[each.model_version] = space
        return {known[v.model_version].using: v.values for v in vectors if v.model_version in known}

    def _found(
        self, state: FaqState, version: str, asked: Sequence[_Asked], excluded: Sequence[frozenset[int]]
    ) -> list[list[FoundQuestion]]:
        """For each question that is asked, those that the legs find; all in one batch, and a second one for the cosines
        of what only the lexical leg finds.
        """
        collection, space = state.collection, state.spaces.get(version)
        if collection is None:
            return [[] for _ in asked]
        queries, of = list[VectorQuery](), list[int]()
        for place, each in enumerate(asked):
            without = Where(excluded=excluded[place])
            if space is not None and each.vector is not None:
                queries.append(VectorQuery(each.vector.tolist(), space.using, _DEPTH, without))
                of.append(place)
            weights = self._encoder.query(each.question)
            if weights.indices:
                queries.append(VectorQuery(weights, LEXICAL, _DEPTH, without))
                of.append(place)
        cosines: list[dict[int, float | None]] = [{} for _ in asked]
        for query, place, hits in zip(queries, of, collection.query(queries) if queries else [], strict=True):
            for key, score in zip(hits.keys.tolist(), hits.scores.tolist(), strict=True):
                if query.using != LEXICAL:
                    cosines[place][key] = score
                else:
                    cosines[place].setdefault(key, None)
        self._add_cosines(state, version, asked, cosines)
        return [self._compared(state, one, its) for one, its in zip(asked, cosines, strict=True)]

    def _add_cosines(
        self, state: FaqState, version: str, asked: Sequence[_Asked], cosines: Sequence[dict[int, float | None]]
    ) -> None:
        space = state.spaces.get(version)
        missing = {key for one, its in zip(asked, cosines, strict=True) if one.vector is not None
                   for key, cosine in its.items() if cosine is None}  # fmt: skip
        if space is None or not missing or state.collection is None:
            return
        rows = state.collection.vectors(sorted(missing), [space.using])
        for one, its in zip(asked, cosines, strict=True):
            for key, cosine in its.items():
                row = rows.get(key, {}).get(space.using)
                if cosine is None and one.vector is not None and row is not None:
                    its[key] = float(np.dot(one.vector, np.asarray(row, np.float32)))

    def _compared(self, state: FaqState, asked: _Asked, cosines: Mapping[int, float | None]) -> list[FoundQuestion]:
        own = _wording(asked.question)
        result = []
        for key, cosine in cosines.items():
            at = state.questions.get(key)
            if at is None:
                continue
            entry = state.entries[at[0]]
            text = entry.questions[at[1]]
            known = _wording(text)
            of_asked, of_known = coverage(own, known, state.weights)
            evidence = Evidence(cosine, of_asked, of_known, spelled_alike(own, known))
            result.append(FoundQuestion(entry.id, entry.language, text, evidence, len(entry.questions)))
        return result

    def _state(self, tenant: str) -> FaqState:
        with self._reading:
            state = self._states.get(tenant)
        return self._read(tenant) if state is None else state

    def _read(self, tenant: str) -> FaqState:
        """As it is now, with the calibration that is known."""
        collection = self._collections.faq(tenant)
        if collection is None:
            state = FaqState(None)
        else:
            with self._reading:
                before = self._states.get(tenant)
            calibrations = {} if before is None else before.calibrations
            state = replace(loaded(collection, self._encoder), calibrations=calibrations)
        with self._reading:
            self._states[tenant] = state
        return state

    def _renew(self, tenant: str) -> None:
        """After a change: reads the entries and fits the calibration to them."""
        state = self._read(tenant)
        state = replace(state, calibrations={v: self._fitted(state, v) for v in ("", *state.spaces)})
        with self._reading:
            self._states[tenant] = state

    def _fitted(self, state: FaqState, version: str) -> Calibration:
        """Each of some questions is asked twice: with the others of its entry, and without its entry at all."""
        prior = replace(state, calibrations={}).calibration(version)
        keys = sample(state)
        space = state.spaces.get(version)
        if not keys or state.collection is None:
            return prior
        rows = state.collection.vectors(keys, [space.using]) if space is not None else {}
        asked, excluded, truths = list[_Asked](), list[frozenset[int]](), list[tuple[str, str]]()
        for key in keys:
            id, number = state.questions[key]
            entry, row = state.entries[id], rows.get(key, {}).get(space.using) if space is not None else None
            if space is not None and row is None:
                continue
            one = _Asked(entry.questions[number], None if row is None else np.asarray(row, np.float32))
            its = frozenset(question_key(id, n) for n in range(len(entry.questions)))
            if len(its) > 1:
                asked.append(one)
                excluded.append(frozenset((key,)))
                truths.append((id, entry.language))
            asked.append(one)
            excluded.append(its)
            truths.append(("", entry.language))
        answers = [
            of_one
            for start in range(0, len(asked), _ASKED_AT_ONCE)
            for of_one in self._found(
                state, version, asked[start : start + _ASKED_AT_ONCE], excluded[start : start + _ASKED_AT_ONCE]
            )
        ]
        examples = []
        for (truth, language), found in zip(truths, answers, strict=True):
            # One in another language that says the same is not wrong.
            if order := scored([each for each in found if each.language == language]):
                best = order[0]
                examples.append(Example(best.similarity, best.margin, best.best.entry_id == truth, not truth))
        return prior.fitted(examples)

    def _follow(self, stop: threading.Event) -> None:
        """A turn of Periodic: looks for what other processes have written, and for what was just opened."""
        self._rounds += 1
        with self._reading:
            known = list(self._states.items())
        for tenant, state in known:
            if stop.is_set():
                return
            if state.collection is None and self._rounds % _ABSENT_ROUNDS:
                continue
            try:
                if self._is_stale(tenant, state):
                    with self._writing[tenant]:
                        self._renew(tenant)
            except Exception as error:
                # The entries stay as they are until the engine answers again.
                _log.warning("the FAQ was not refreshed", tenant=tenant, exc_info=error)

    def _is_stale(self, tenant: str, state: FaqState) -> bool:
        if state.collection is None:
            return self._collections.faq(tenant) is not None
        if not state.calibrations and state.entries:
            # Just opened.
            return True
        if state.collection.revision is not None:
            # Nobody else writes.
            return False
        current = self._collections.faq(tenant)
        return current is None or counts_of(current, state.marks) != state.counts


@lru_cache(_REMEMBERED)
def _wording(question: str) -> Wording:
    return Wording.of(question, numbers_of(question))


@dataclass(frozen=True)
class _Asked:
    """`vector` of length 1."""

    question: str
    vector: FloatArray | None


def _is_unchanged(entry: FaqEntry, known: FaqEntry) -> bool:
    return replace(entry, version=known.version) == known
