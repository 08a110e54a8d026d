"""What an answer says of a query that has no good match: retrieval's helps as searches, and a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.domain.texts import Texts
from services.gateway.flows.interpretation import filtered_attribute

_FIELDS = {
    encoder_pb2.CONSTRAINT_TYPE_PRICE: "price",
    encoder_pb2.CONSTRAINT_TYPE_BRAND: "brand",
}
_OPERATORS = {
    retrieval_pb2.HELP_KIND_WITHOUT_EXCLUSION: encoder_pb2.CONSTRAINT_TYPE_EXCLUSION,
    retrieval_pb2.HELP_KIND_WITHOUT_PHRASE: encoder_pb2.CONSTRAINT_TYPE_PHRASE,
}
# The sentence of each kind.
_SENTENCES = {
    retrieval_pb2.HELP_KIND_WITHOUT_FILTER: "help_filter",
    retrieval_pb2.HELP_KIND_WITHOUT_CONDITION: "help_without",
    retrieval_pb2.HELP_KIND_WITHOUT_EXCLUSION: "help_without",
    retrieval_pb2.HELP_KIND_WITHOUT_PHRASE: "help_without",
    retrieval_pb2.HELP_KIND_OTHER_SPELLING: "help_spelling",
    retrieval_pb2.HELP_KIND_NEAREST_CATEGORY: "help_nearest",
    retrieval_pb2.HELP_KIND_NEAREST_TYPE: "help_nearest",
}


def report_relevance(
    response: gateway_pb2.SearchResponse,
    message: gateway_pb2.SearchRequest,
    found: retrieval_pb2.RetrieveCandidatesResponse,
    texts: Texts,
) -> None:
    """Fills relevance, missing words and `no_good_match` of a response that has its interpretation."""
    if not found.HasField("assessment"):
        return
    response.relevance = found.assessment.relevance
    response.missing_words.extend(found.assessment.missing_words)
    if message.explain:
        response.relevance_evidence.CopyFrom(found.assessment.evidence)
    if found.HasField("no_good_match"):
        answer = response.no_good_match
        answer.reason, answer.language = found.no_good_match.reason, texts.language
        text = response.interpretation.corrected_text or message.query.strip()
        answer.helps.extend(_helps(found.no_good_match, response.interpretation, text))
        answer.text = _sentence(texts, message.query.strip(), response.missing_words, answer.helps)


def clear_relevance(response: gateway_pb2.SearchResponse) -> None:
    """Only the first page has these fields."""
    response.ClearField("no_good_match")
    response.ClearField("missing_words")
    response.ClearField("relevance")
    response.ClearField("relevance_evidence")


def _helps(
    found: retrieval_pb2.NoGoodMatch, interpretation: gateway_pb2.QueryInterpretation, text: str
) -> Iterator[gateway_pb2.SearchHelp]:
    for help in found.helps:
        answer = gateway_pb2.SearchHelp(kind=help.kind, value=help.value, count=help.count)
        if help.kind == retrieval_pb2.HELP_KIND_WITHOUT_FILTER:
            answer.query = text
        elif help.kind == retrieval_pb2.HELP_KIND_OTHER_SPELLING:
            answer.value, answer.query = help.replacement, text.replace(help.value, help.replacement, 1)
        elif help.kind == retrieval_pb2.HELP_KIND_NEAREST_TYPE:
            answer.query = help.value
        elif help.kind != retrieval_pb2.HELP_KIND_NEAREST_CATEGORY:
            chips = [chip for chip in interpretation.interpreted_as if _is_about(chip, help)]
            answer.value = ", ".join(chip.matched_text for chip in chips) or help.value
            answer.query = text
            for chip in chips:
                answer.query = " ".join(answer.query.replace(chip.matched_text, " ", 1).split())
        yield answer


def _is_about(chip: gateway_pb2.InterpretedAs, help: retrieval_pb2.Help) -> bool:
    """Whether the condition of the chip is left out."""
    constraint = chip.constraint
    if help.kind in _OPERATORS:
        return constraint.type == _OPERATORS[help.kind]
    if chip.effect == gateway_pb2.INTERPRETATION_EFFECT_OVERRIDDEN:
        return False
    attributes = (encoder_pb2.CONSTRAINT_TYPE_COLOUR, encoder_pb2.CONSTRAINT_TYPE_ATTRIBUTE)
    if constraint.type in attributes:
        return help.value == f"attributes.{filtered_attribute(constraint)}"
    return bool(help.value) and help.value == _FIELDS.get(constraint.type)


def _sentence(texts: Texts, query: str, missing_words: Sequence[str], helps: Sequence[gateway_pb2.SearchHelp]) -> str:
    parts = [texts.say("no_good_match", query=query)]
    if missing_words:
        parts.append(texts.say("missing_words", words=texts.say("joined").join(missing_words)))
    parts.extend(texts.say(_SENTENCES[help.kind], subject=help.value, count=help.count) for help in helps)
    return "".join(parts)
