"""PreviewRules: what merchandising rules that are not published would change in searches."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from google.protobuf.timestamp_pb2 import Timestamp

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert_merchandising import rule_from_proto
from services.common.errors import FieldViolation, InvalidArgument, KairosError
from services.common.limits import MAX_PREVIEWS, MAX_QUERY, text_problem
from services.common.merchandising import Boost, Exclude, Include, Pin, Rule, RuleSet, rule_set_violations
from services.common.visibility import SEES_ALL, Viewing
from services.gateway.convert import fields_below, viewer_of_search
from services.gateway.domain.budget import Stage
from services.gateway.domain.rule_index import RuleIndex, unmet
from services.gateway.domain.viewer import Viewer
from services.gateway.flows import search
from services.gateway.flows.merchandising import audience_of, search_context
from services.gateway.parts import Parts
from services.gateway.request_info import RequestInfo
from services.gateway.stage_calls import Answers, StageCalls

MAX_RULES = 10
_DEFAULT_QUERIES = 100
_SHOWN = 10
# Searches at the same time: a preview must not take the places of shoppers.
_AT_ONCE = 4
# Of one search.
_SEARCH_S = 5.0
# Records of the log, and of one page of it. The share of the time for reading it.
_LOGGED, _LOG_PAGE, _LOG_SHARE = 50_000, 1_000, 1 / 3
_MOST_IDS = 1_000
# The year 3000: clocks of time zones end with the year 9999.
_LATEST_S = 32_503_680_000


@dataclass(frozen=True)
class _Trial:
    """`rules` are the unpublished ones; the parts before and after have the indices that searches use."""

    rules: Sequence[Rule]
    before: Parts
    after: Parts
    until_s: float
    tenant: str

    def left_s(self, most_s: float = _SEARCH_S) -> float:
        return min(most_s, self.until_s - time.monotonic())

    def calls(self, answers: Answers | None = None, viewing: Viewing = SEES_ALL) -> StageCalls:
        return self.after.access.for_background("preview", self.tenant, self.left_s(), answers, viewing=viewing)


class _Fixed:
    """One index for every tenant."""

    def __init__(self, index: RuleIndex) -> None:
        self._index = index

    def of(self, tenant: str) -> RuleIndex:
        return self._index


async def preview_rules(
    info: RequestInfo, parts: Parts, message: gateway_pb2.PreviewRulesRequest
) -> gateway_pb2.PreviewRulesResponse:
    rules = _checked(message)
    _viewer(message, "", parts, info.tenant)
    began_s, given_s = time.monotonic(), parts.settings.budget.preview_ms / 1e3
    if info.deadline_s is not None:
        # The answer needs its time too.
        given_s = min(given_s, 0.95 * (info.deadline_s - began_s))
    trial = await _trial(rules, parts, message, info.tenant, began_s + given_s)
    missing, counts = await asyncio.gather(_missing(trial), _queries(trial, message, began_s + given_s * _LOG_SHARE))
    places = asyncio.Semaphore(_AT_ONCE)

    async def preview(query: str, count: int) -> gateway_pb2.RulePreview | None:
        async with places:
            if trial.left_s() <= 0:
                return None
            try:
                return await _preview(trial, message, query, count)
            except KairosError:
                return None

    made = await asyncio.gather(*(preview(query, count) for query, count in counts))
    previews = [one for one in made if one is not None]
    return gateway_pb2.PreviewRulesResponse(
        previews=previews, is_complete=len(previews) == len(counts), missing_ids=missing, request_id=info.request_id
    )


def _checked(message: gateway_pb2.PreviewRulesRequest) -> list[Rule]:
    wrong = list[FieldViolation]()
    if not 1 <= len(message.rules) <= MAX_RULES:
        raise InvalidArgument.of("rules", f"holds {len(message.rules)}; send 1 to {MAX_RULES}")
    rules = [rule_from_proto(rule, f"rules[{index}]") for index, rule in enumerate(message.rules)]
    wrong.extend(rule_set_violations(rules))
    for index, rule in enumerate(rules):
        if rule.trigger.placements:
            problem = "are set, and a preview is of searches; look at Recommend for rules of placements"
            wrong.append(FieldViolation(f"rules[{index}].trigger.placements", problem))
    if len(message.queries) > MAX_PREVIEWS:
        wrong.append(FieldViolation("queries", f"holds {len(message.queries)}; send at most {MAX_PREVIEWS}"))
    for index, query in enumerate(message.queries[:MAX_PREVIEWS]):
        if wrong_text := text_problem(query, MAX_QUERY) if query.strip() else "is empty; send a query":
            wrong.append(FieldViolation(f"queries[{index}]", wrong_text))
    if message.query_count and message.queries:
        wrong.append(FieldViolation("query_count", "is set together with queries; send one of them"))
    elif not 0 <= message.query_count <= MAX_PREVIEWS:
        wrong.append(FieldViolation("query_count", f"is {message.query_count}; send 0 to {MAX_PREVIEWS}"))
    if message.HasField("at_time") and not 0 <= message.at_time.seconds < _LATEST_S:
        wrong.append(FieldViolation("at_time", "is before 1970 or after 2999; send an instant between them"))
    if message.search.query:
        wrong.append(FieldViolation("search.query", "is set; send the text in queries"))
    if wrong:
        raise InvalidArgument(*wrong[:20])
    return rules


async def _trial(
    rules: Sequence[Rule], parts: Parts, message: gateway_pb2.PreviewRulesRequest, tenant: str, until_s: float
) -> _Trial:
    published, own = parts.rules.of(tenant), {rule.id for rule in rules}
    # A preview shows what the rules do, also those that wait for an experiment.
    previewed = (replace(rule, only_in_experiments=False) for rule in rules)
    both = (*(rule for rule in published.rules if rule.id not in own), *previewed)
    at: Timestamp = message.at_time
    clock = (lambda: at.ToNanoseconds() / 1e9) if message.HasField("at_time") else parts.clock
    before = replace(parts, clock=clock)
    # Thousands of rules take longer than other requests should wait.
    index = await asyncio.to_thread(RuleIndex, RuleSet("preview", both))
    after = replace(parts, clock=clock, rules=_Fixed(index))
    return _Trial(rules, before, after, until_s, tenant)


async def _missing(trial: _Trial) -> list[str]:
    """Products that the rules name and the catalogue does not have."""
    ids = list(dict.fromkeys(id for rule in trial.rules for id in _named(rule)))[:_MOST_IDS]
    if not ids:
        return []
    lookup = retrieval_pb2.LookupProductsRequest(ids=ids)
    found = await trial.calls().call(Stage.RETRIEVAL, trial.after.stubs.retrieval.LookupProducts, lookup)
    return list(found.missing_ids)


def _named(rule: Rule) -> Iterator[str]:
    for action in rule.actions:
        if isinstance(action, Pin):
            yield action.product_id
        elif isinstance(action, Include):
            yield from action.product_ids
        elif isinstance(action, Boost | Exclude):
            yield from action.products.ids


async def _queries(trial: _Trial, message: gateway_pb2.PreviewRulesRequest, until_s: float) -> list[tuple[str, int]]:
    """(query, how often it is in the log)."""
    if message.queries:
        return [(query, 0) for query in dict.fromkeys(message.queries)]
    counts, token = Counter[str](), ""
    ask = trial.after.stubs.ranker.ReadLog
    while time.monotonic() < until_s:
        request = ranker_pb2.ReadLogRequest(
            log=ranker_pb2.LOG_KIND_IMPRESSIONS, page_token=token, page_size=_LOG_PAGE, newest_count=_LOGGED
        )
        page = await trial.calls().call(Stage.RANKER, ask, request)
        # The first page of each ranking.
        counts.update(one.query.strip() for one in page.impressions if 1 in one.positions and one.query.strip())
        token = page.next_page_token
        if page.is_last_page:
            break
    return counts.most_common(message.query_count or _DEFAULT_QUERIES)


async def _preview(
    trial: _Trial, message: gateway_pb2.PreviewRulesRequest, query: str, count: int
) -> gateway_pb2.RulePreview | None:
    """None if the encoder does not answer: which rules apply is not known then."""
    preview = gateway_pb2.RulePreview(query=query, count=count)
    request, viewer = _viewer(message, query, trial.after, trial.tenant)
    # Where rules make no difference to a stage, it is asked once for both searches.
    answers: Answers = {}
    calls, index = trial.calls(answers, viewer.viewing), trial.after.rules.of(trial.tenant)
    understood, audience = await asyncio.gather(
        search.understand(calls, trial.after, request, query), audience_of(calls, trial.after, request, ())
    )
    if understood is None:
        return None
    context = search_context(index, request, understood, audience, trial.after.clock())
    for rule in trial.rules:
        if lacking := unmet(rule, context):
            preview.unmet_rules.add(rule_id=rule.id, conditions=[condition.value for condition in lacking])
    if len(preview.unmet_rules) == len(trial.rules):
        return preview
    (before, total_before, _), (after, total_after, said) = [
        await _first(trial, parts, message, query, answers) for parts in (trial.before, trial.after)
    ]
    preview.item_ids_before.extend(before)
    preview.item_ids_after.extend(after)
    preview.total_size_before, preview.total_size_after = total_before, total_after
    preview.merchandising.CopyFrom(said)
    return preview


async def _first(
    trial: _Trial, parts: Parts, message: gateway_pb2.PreviewRulesRequest, query: str, answers: Answers
) -> tuple[Sequence[str], int, gateway_pb2.Merchandising]:
    """(the first products, the total, what rules say)."""
    request, viewer = _viewer(message, query, parts, trial.tenant)
    answer = gateway_pb2.SearchResponse()
    ranking = await search.new_ranking(trial.calls(answers, viewer.viewing), parts, request, viewer, answer, None)
    return ranking.item_ids[:_SHOWN], ranking.total_size, answer.merchandising


def _viewer(
    message: gateway_pb2.PreviewRulesRequest, query: str, parts: Parts, tenant: str
) -> tuple[gateway_pb2.SearchRequest, Viewer]:
    """A request with this query of its own, and who asks."""
    request = gateway_pb2.SearchRequest()
    request.CopyFrom(message.search)
    request.query = query
    for name in ("page_token", "facets", "best_facet_count", "explain"):
        request.ClearField(name)
    with fields_below("search"):
        viewer = viewer_of_search(request, parts.token_keys.of(tenant))
    return request, replace(viewer, is_preview=True)
