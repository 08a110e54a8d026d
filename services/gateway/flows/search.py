"""Search: understand the text and the picture, retrieve, rank, price. `fallbacks` has the fallback of each step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kairos.common.v1 import common_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.common.models.text_version import shopper_of
from services.common.session_mixing import SessionMixing
from services.gateway import fallbacks
from services.gateway.convert import collapse_mode, offer_context
from services.gateway.domain.budget import Stage
from services.gateway.domain.viewer import Explained, Viewer
from services.gateway.flows.abstention import clear_relevance, report_relevance
from services.gateway.flows.browse import browse, first_products, is_browsing
from services.gateway.flows.faq import faq_match
from services.gateway.flows.faq_products import faq_question, with_faq_products
from services.gateway.flows.interleaving import ranked_and_arranged
from services.gateway.flows.interpretation import (
    add_operators,
    asked_type,
    interpret,
    match_groups,
    report_also_searched,
    report_effects,
    report_type,
    soft_filter,
    spelling_alternatives,
    text_to_look_up,
    with_own_conditions,
)
from services.gateway.flows.merchandising import BY_RELEVANCE, AppliedRules, audience_of, rules_of_search
from services.gateway.flows.paging import cut, stored_page
from services.gateway.flows.pictures import image_encoder_required
from services.gateway.flows.rank_items import rank_items
from services.gateway.flows.ranking import Ranking
from services.gateway.flows.results import attribution_of, results_of
from services.gateway.flows.sponsored import may_have_ads, space_of_search, with_ads
from services.gateway.flows.transcripts import heard
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

_AFTER_ENCODER = (Stage.RETRIEVAL, Stage.RANKER, Stage.PRICING)
_AFTER_RETRIEVAL = (Stage.RANKER, Stage.PRICING)
_QUERY = ranker_pb2.CANDIDATE_SOURCE_QUERY


async def search(
    calls: StageCalls, parts: Parts, message: gateway_pb2.SearchRequest, viewer: Viewer
) -> gateway_pb2.SearchResponse:
    if transcript := await heard(calls, parts, message):
        viewer = replace(viewer, query=transcript)
    response = gateway_pb2.SearchResponse(
        request_id=calls.info.request_id, snapshot_version=parts.snapshot_versions.get(calls.info.tenant, 0)
    )
    calls.locale = calls.locale or viewer.page.locale
    if message.page_token:
        # Also for a page that is computed again.
        message.ClearField("facets")
        message.ClearField("best_facet_count")
    page = await stored_page(calls, parts, viewer)
    if page is None and is_browsing(message):
        page = await browse(calls, parts, message, viewer, response)
    if page is None:
        ranking = await new_ranking(calls, parts, message, viewer, response, viewer.explained)
        ranking = await with_ads(calls, parts, message, viewer, ranking)
        page = cut(ranking, viewer, calls.locale)
    response.results.extend(await results_of(calls, parts, page, viewer))
    if message.page_token:
        response.ClearField("interpretation")
        response.ClearField("match_level")
        response.ClearField("merchandising")
        clear_relevance(response)
    response.total_size, response.total_accuracy = page.total_size, page.total_accuracy
    response.attribution_token = attribution_of(calls, page, parts)
    if page.next_page is not None:
        response.next_page_token = page.next_page.encode(parts.token_keys.of(calls.info.tenant)[0])
    if not (response.results or viewer.page.offset):
        parts.metrics.empty_searches.inc()
    if response.HasField("no_good_match"):
        parts.metrics.no_good_matches.inc()
    response.transcript = transcript
    if response.HasField("faq"):
        parts.metrics.faq_shown.inc()
    response.degradations.extend(calls.degradations)
    if message.explain:
        response.timings.extend(calls.timings)
    return response


async def new_ranking(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.SearchRequest,
    viewer: Viewer,
    response: gateway_pb2.SearchResponse,
    explained: Explained | None,
) -> Ranking:
    """The whole order, as far as candidates go. Fills interpretation and facets of `response`."""
    if is_browsing(message):
        ranking = await first_products(calls, parts, message, viewer, response)
    else:
        ranking = await _find_and_rank(calls, parts, message, viewer, response, explained)
    ranking.conditions = replace(ranking.conditions, narrowing=viewer.filter, interpretation=response.interpretation)
    return ranking


def _without_retrieval(
    parts: Parts, tenant: str, viewer: Viewer, rules: AppliedRules, response: gateway_pb2.SearchResponse
) -> Ranking:
    """The popular items that no rule excludes."""
    ranking = fallbacks.retrieval_late(parts, tenant, viewer, rules.is_excluded)
    rules.report_in(response, ranking)
    return ranking


async def _find_and_rank(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.SearchRequest,
    viewer: Viewer,
    response: gateway_pb2.SearchResponse,
    explained: Explained | None,
) -> Ranking:
    has_ads = may_have_ads(calls, parts, message)
    understood, session, picture, audience = await asyncio.gather(
        understand(calls, parts, message, message.query),
        _session(calls, parts, message),
        _encode_picture(calls, parts, message),
        audience_of(calls, parts, message, _AFTER_ENCODER, has_ads),
    )
    rules = rules_of_search(calls, parts, message, understood, audience)
    typed = message.query.strip()
    if changed := rules.changed_text(understood, typed):
        typed, understood = changed, await understand(calls, parts, message, changed)
    tenant, wanted, groups, asked = calls.info.tenant, None, list[retrieval_pb2.MatchGroup](), None
    spellings = list[retrieval_pb2.SpellingAlternative]()
    if understood is None:
        text = typed
    else:
        rules.add_synonyms(understood)
        interpret(response.interpretation, message, understood)
        calls.locale = calls.locale or understood.language
        wanted = soft_filter(message, understood)
        text, groups = text_to_look_up(message, understood), match_groups(message, understood)
        asked, spellings = asked_type(message, understood), spelling_alternatives(message, understood)
    if message.image and picture is None and not message.query.strip():
        return _without_retrieval(parts, tenant, viewer, rules, response)
    if (message.facets or message.best_facet_count) and not calls.has_room_for(Stage.RETRIEVAL, fallbacks.NO_FACETS):
        message.ClearField("facets")
        message.ClearField("best_facet_count")
    by_relevance, vectors = message.sort in BY_RELEVANCE, _in_session(understood, session)
    query = retrieval_pb2.RetrieveCandidatesRequest(
        text=text,
        query_vectors=vectors[0] if vectors else None,
        other_query_vectors=vectors[1:],
        filter=message.filter,
        soft_filter=wanted if understood is None else with_own_conditions(wanted, message, understood),
        limit=parts.settings.search.candidates,
        sort=message.sort,
        facets=message.facets,
        with_vectors=by_relevance,
        image_vector=picture,
        similar_to_id=message.similar_to_id,
        offer_context=offer_context(viewer),
        collapse=collapse_mode(viewer),
        match_groups=groups,
        asked_type=asked,
        spelling_alternatives=spellings,
        best_facet_count=message.best_facet_count,
        identifier_text=typed,
        faq_question=faq_question(message),
    )
    if understood is not None:
        add_operators(query, message, understood)
    rules.exclude(query)
    found = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.RetrieveCandidates, query, _AFTER_RETRIEVAL, fallbacks.POPULAR_ITEMS
    )
    if found is None:
        return _without_retrieval(parts, tenant, viewer, rules, response)
    calls.degradations.extend(found.degradations)
    response.facets.extend(found.facets)
    response.match_level = found.match_level
    if understood is not None:
        report_type(response.interpretation, understood, found.product_type)
        report_also_searched(response.interpretation, found.also_searched)
    report_relevance(response, message, found, parts.texts.of(calls.locale))
    report_effects(response.interpretation, wanted is not None and found.soft_filter_applied)
    if by_relevance:
        vector = _of_model(vectors, found.model_version)
        candidates = await rules.with_named(calls, parts, viewer, found.candidates, _AFTER_RETRIEVAL)
        recommended = set[str]()
        if found.HasField("faq"):
            response.faq.CopyFrom(faq_match(found.faq))
            candidates, recommended = await with_faq_products(
                calls, parts, viewer, rules, candidates, found.faq, vectors
            )
        ranking = await ranked_and_arranged(
            calls, viewer, candidates, explained,
            lambda arms, turn: rank_items(
                calls, parts, candidates, viewer, vector, _QUERY, found.total_size, explained, assignment=arms,
                turn=turn,
            ),
            lambda arms: rules_of_search(calls, parts, message, understood, audience, arms), rules,
        )  # fmt: skip
        ranking.sources = dict.fromkeys(recommended, (ranker_pb2.CANDIDATE_SOURCE_FAQ,))
        if has_ads:
            ranking.ad_space = space_of_search(message, understood, audience, candidates)
    else:
        ranking = Ranking.in_retrieval_order(found.candidates, _QUERY, found.total_size, explained is not None)
    rules.report_in(response, ranking)
    ranking.total_accuracy = found.total_accuracy
    if wanted is not None:
        ranking.soft_filter = wanted
        ranking.meets_conditions = dict(zip(found.candidates.ids, found.candidates.meets_soft_filter, strict=False))
    ranking.relevances = dict(zip(found.candidates.ids, found.candidates.relevances, strict=False))
    return ranking


async def _encode_picture(
    calls: StageCalls, parts: Parts, message: gateway_pb2.SearchRequest
) -> common_pb2.Vectors | None:
    """None without a picture, and if the encoder does not answer."""
    if not message.image:
        return None
    fallback = fallbacks.WITHOUT_PICTURE if message.query.strip() else fallbacks.POPULAR_ITEMS
    query = encoder_pb2.EncodeImageRequest(image=message.image)
    with image_encoder_required():
        answer = await calls.call_or_degrade(
            Stage.QUERY_ENCODER, parts.stubs.encoder.EncodeImage, query, _AFTER_ENCODER, fallback
        )
    return None if answer is None else answer.vector


async def understand(
    calls: StageCalls, parts: Parts, message: gateway_pb2.SearchRequest, text: str
) -> encoder_pb2.EncodeQueryResponse | None:
    """None for an empty text, and if the encoder does not answer."""
    if not text.strip():
        return None
    context = encoder_pb2.QueryContext(
        category=message.filter.categories[0] if message.filter.categories else "",
        session_follows=bool(message.session_id),
    )
    shopper = shopper_of(message.user_id, message.visitor_id)
    query = encoder_pb2.EncodeQueryRequest(text=text, query_context=context, shopper=shopper)
    answer = await calls.call_or_degrade(
        Stage.QUERY_ENCODER, parts.stubs.encoder.EncodeQuery, query, _AFTER_ENCODER, fallbacks.LEXICAL_RETRIEVAL
    )
    if answer is not None and not _vectors(answer):
        reason = common_pb2.DEGRADATION_REASON_UNKNOWN_LANGUAGE
        detail = "the encoder does not know the language"
        calls.degrade(Stage.QUERY_ENCODER, reason, fallbacks.LEXICAL_RETRIEVAL, detail)
    return answer


async def _session(calls: StageCalls, parts: Parts, message: gateway_pb2.SearchRequest) -> common_pb2.Vectors | None:
    """The context of the session. None for an unknown session, and if the ranker does not answer at once."""
    if not (message.session_id and message.query.strip()):
        return None
    ask = ranker_pb2.GetInterestsRequest(session_id=message.session_id)
    cap = parts.settings.budget.stored_read
    answer = await calls.call_or_degrade(
        Stage.RANKER, parts.stubs.ranker.GetInterests, ask, _AFTER_ENCODER, fallbacks.WITHOUT_SESSION, cap
    )
    return answer.session if answer is not None and answer.HasField("session") else None


def _in_session(
    understood: encoder_pb2.EncodeQueryResponse | None, session: common_pb2.Vectors | None
) -> list[common_pb2.Vectors]:
    """The query by each model, that of the session's model in the context of the session."""
    vectors = _vectors(understood)
    if understood is None or session is None:
        return vectors
    of_session = vectors_from_proto(session, "session")
    for place, (vector, mixing) in enumerate(zip(vectors, understood.session_mixings, strict=False)):
        base = vectors_from_proto(mixing.base, "session_mixings.base")
        if vector.model_version == session.model_version and base.shape == of_session.shape:
            mixed = SessionMixing(base[0], mixing.weight).mixed(of_session[0])
            if mixed is not None:
                vectors[place] = vectors_to_proto(mixed[np.newaxis], vector.model_version)
    return vectors


def _vectors(understood: encoder_pb2.EncodeQueryResponse | None) -> list[common_pb2.Vectors]:
    """The query by each served model that knows its language."""
    if understood is None:
        return []
    return [*([understood.vector] if understood.HasField("vector") else []), *understood.other_vectors]


def _of_model(vectors: Sequence[common_pb2.Vectors], model_version: str) -> common_pb2.Vectors | None:
    """The query by the model of the collection that answered; else by the first model."""
    fitting = [vector for vector in vectors if vector.model_version == model_version]
    return next(iter([*fitting, *vectors]), None)
