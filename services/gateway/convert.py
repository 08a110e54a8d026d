"""Protobuf -> domain: what a public request says, checked once. Raises InvalidArgument with the path of each field."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from google.protobuf import timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from pydantic import ValidationError

from kairos.common.v1 import common_pb2, offer_pb2, product_pb2
from kairos.control.v1 import control_pb2, merchandising_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2
from services.common.convert import filter_from_proto
from services.common.convert_merchandising import checked_rules
from services.common.errors import FieldViolation, InvalidArgument
from services.common.experiment import Experiment
from services.common.facets import MAX_FACETS, facet_violations
from services.common.filters import ProductFilter, filter_violations
from services.common.limits import (
    MAX_ATTRIBUTE_NAME,
    MAX_ATTRIBUTE_TEXT,
    MAX_ATTRIBUTE_TEXTS,
    MAX_IMAGE_BYTES,
    MAX_LIST_ID,
    MAX_MODEL_VERSION,
    MAX_PAGE_TOKEN,
    MAX_QUERY,
    MAX_SET_ATTRIBUTES,
    MAX_TRANSCRIPTS,
    id_problem,
    language_problem,
    text_problem,
)
from services.common.merchandising import Rule, RuleSet, Synonyms
from services.common.money import currency_problem
from services.common.serving_configuration import (
    DEFAULT_PLACEMENT,
    MAX_PLACEMENT,
    ServingConfiguration,
    configuration_of,
)
from services.common.validation import violations_of
from services.common.visibility import Viewing, market_problem
from services.gateway.domain.tenant_access import PublishedKey, Role, TenantAccess
from services.gateway.domain.tokens import PageToken, fingerprint
from services.gateway.domain.viewer import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, OfferTerms, Viewer

# Products of the page, and in the cart, of a recommendation.
MAX_PAGE_ITEMS, MAX_CART_ITEMS = 20, 100
_id = partial(id_problem, required=False)
# Of a search that names no placement.
SEARCH_PLACEMENT = "search"
# The rule for each text field of a public request, by its name. Code that requires a text checks that it is not empty.
_TEXT_RULES: dict[str, Callable[[str], str | None]] = {
    "query": partial(text_problem, limit=MAX_QUERY),
    "prefix": partial(text_problem, limit=MAX_QUERY),
    "locale": lambda value: language_problem(value) if value else None,
    "page_token": partial(text_problem, limit=MAX_PAGE_TOKEN),
    "placement": partial(text_problem, limit=MAX_PLACEMENT),
    "model_version": partial(text_problem, limit=MAX_MODEL_VERSION),
    "market": market_problem,
    "currency_code": lambda value: currency_problem(value) if value else None,
    **dict.fromkeys(("user_id", "visitor_id", "session_id", "similar_to_id", "item_id", "id"), _id),
    **dict.fromkeys(("price_list_id", "place_id"), partial(id_problem, required=False, limit=MAX_LIST_ID)),
}
_REASONS = {
    number: name.removeprefix("PRICE_REASON_").lower() for name, number in pricing_pb2.PriceReason.items() if number
}
# The enum fields of requests, by their name.
_ENUMS: dict[str, Any] = {
    "sort": product_pb2.SortOrder,
    "collapse": product_pb2.CollapseMode,
    "fulfilment": offer_pb2.Fulfilment,
    "log": ranker_pb2.LogKind,
    "rules": gateway_pb2.RulesMode,
    "sponsored": gateway_pb2.SponsoredMode,
    "audience": common_pb2.Audience,
    "faq": gateway_pb2.FaqMode,
}


def viewer_of_search(message: gateway_pb2.SearchRequest, token_keys: tuple[str, ...]) -> Viewer:
    if len(message.query) <= MAX_QUERY and not has_visible(message.query):
        # Blanks and control characters are no query: the request browses.
        message.query = ""
    wrong = [*_text_violations(message), *facet_violations(message.facets)]
    if not 0 <= message.best_facet_count <= MAX_FACETS:
        wrong.append(FieldViolation("best_facet_count", f"is {message.best_facet_count}; send 0 to {MAX_FACETS}"))
    if len(message.image) > MAX_IMAGE_BYTES:
        wrong.append(FieldViolation("image", f"has {len(message.image)} bytes; send at most {MAX_IMAGE_BYTES}"))
    if message.similar_to_id and message.image:
        wrong.append(FieldViolation("similar_to_id", "is set together with image; send one of them"))
    wrong += transcript_violations("transcripts", message.transcripts, MAX_QUERY)
    if message.transcripts and message.query and not wrong:
        wrong.append(FieldViolation("query", "is set together with transcripts; send one of them"))
    return _viewer(message, message.query, token_keys, wrong, SEARCH_PLACEMENT)


def viewer_of_recommendation(message: gateway_pb2.RecommendRequest, token_keys: tuple[str, ...]) -> Viewer:
    wrong = list(_text_violations(message))
    for field, most in (("item_ids", MAX_PAGE_ITEMS), ("cart_item_ids", MAX_CART_ITEMS)):
        ids = getattr(message, field)
        if len(ids) > most:
            wrong.append(FieldViolation(field, f"holds {len(ids)}; send at most {most}"))
            continue
        problems = ((index, id_problem(id)) for index, id in enumerate(ids))
        wrong.extend(FieldViolation(f"{field}[{index}]", problem) for index, problem in problems if problem)
    return _viewer(message, "", token_keys, wrong, DEFAULT_PLACEMENT)


def viewer_of_explanation(message: gateway_pb2.ExplainItemRequest, token_keys: tuple[str, ...]) -> Viewer:
    """Of the request to explain. Clears the fields in it that ExplainItem does not read."""
    require_id("item_id", message.item_id)
    asked = message.WhichOneof("asked")
    if asked is None:
        raise InvalidArgument.of("asked", "is missing; send search or recommend")
    with fields_below(asked):
        if asked == "search":
            message.search.ClearField("facets")
            message.search.ClearField("best_facet_count")
            message.search.ClearField("page_token")
            return viewer_of_search(message.search, token_keys)
        message.recommend.ClearField("page_token")
        return viewer_of_recommendation(message.recommend, token_keys)


@contextmanager
def fields_below(name: str) -> Iterator[None]:
    """Errors about fields of a message that is the field `name` of another one."""
    try:
        yield
    except InvalidArgument as error:
        below = (FieldViolation(f"{name}.{wrong.field}", wrong.description) for wrong in error.violations)
        raise InvalidArgument(*below) from None


def price_reason(quote: pricing_pb2.PriceQuote) -> str:
    """Its name in lower case, for example "overstock". Empty if there is none, or only a newer pricing knows it."""
    return _REASONS.get(quote.reason, "")


def viewing_of(
    message: gateway_pb2.SearchRequest
    | gateway_pb2.RecommendRequest
    | gateway_pb2.SuggestRequest
    | gateway_pb2.GetProductRequest,
) -> Viewing:
    """Of a request whose texts are checked, or will be."""
    return Viewing(message.market, message.audience == common_pb2.AUDIENCE_ADULT)


def offer_context(viewer: Viewer) -> offer_pb2.OfferContext:
    terms = viewer.offers
    return offer_pb2.OfferContext(
        price_list_id=terms.price_list_id, currency_code=terms.currency_code, place_id=terms.place_id,
        fulfilment=offer_pb2.Fulfilment.ValueType(terms.fulfilment),
    )  # fmt: skip


def collapse_mode(viewer: Viewer) -> product_pb2.CollapseMode.ValueType:
    return product_pb2.COLLAPSE_MODE_GROUP if viewer.is_collapsed else product_pb2.COLLAPSE_MODE_NONE


def check_texts(message: Any) -> None:
    """The rule of each text field of the request. Neither reads lists nor messages in it."""
    if wrong := list(_text_violations(message)):
        raise InvalidArgument(*wrong)


def product_filter(message: product_pb2.ProductFilter, field: str) -> ProductFilter:
    narrowing = filter_from_proto(message, field)
    if violations := list(filter_violations(narrowing, field)):
        raise InvalidArgument(*violations)
    return narrowing


def transcript_violations(at: str, transcripts: Sequence[Any], most: int) -> Iterator[FieldViolation]:
    """`most`: characters of one."""
    if len(transcripts) > MAX_TRANSCRIPTS:
        yield FieldViolation(at, f"holds {len(transcripts)}; send at most {MAX_TRANSCRIPTS}")
    for index, each in enumerate(transcripts[:MAX_TRANSCRIPTS]):
        if problem := text_problem(each.text, most):
            yield FieldViolation(f"{at}[{index}].text", problem)
        elif not has_visible(each.text):
            yield FieldViolation(f"{at}[{index}].text", "has no visible character; send what was heard")
        if not 0 <= each.confidence <= 1:
            yield FieldViolation(f"{at}[{index}].confidence", f"{each.confidence} is not from 0 to 1")


def require_id(field: str, id: str) -> None:
    if problem := id_problem(id):
        raise InvalidArgument.of(field, problem)


def require_ids(field: str, ids: Sequence[str], limit: int) -> None:
    if not 1 <= len(ids) <= limit:
        raise InvalidArgument.of(field, f"holds {len(ids)}; send 1 to {limit}")
    for index, id in enumerate(ids):
        require_id(f"{field}[{index}]", id)


def check_user_attributes(attributes: Sequence[profile_pb2.UserAttribute]) -> None:
    """The bounds of the contract. The ranker checks names and values by the tenant's schema."""
    if not 1 <= len(attributes) <= MAX_SET_ATTRIBUTES:
        raise InvalidArgument.of("attributes", f"holds {len(attributes)}; send 1 to {MAX_SET_ATTRIBUTES}")
    wrong = []
    for place, each in enumerate(attributes):
        at = f"attributes[{place}]"
        if not 1 <= len(each.name) <= MAX_ATTRIBUTE_NAME:
            wrong.append(
                FieldViolation(f"{at}.name", f"has {len(each.name)} characters; send 1 to {MAX_ATTRIBUTE_NAME}")
            )
        if len(each.texts) > MAX_ATTRIBUTE_TEXTS:
            wrong.append(FieldViolation(f"{at}.texts", f"holds {len(each.texts)}; send at most {MAX_ATTRIBUTE_TEXTS}"))
        for index, text in enumerate(each.texts):
            if not 1 <= len(text) <= MAX_ATTRIBUTE_TEXT:
                problem = f"has {len(text)} characters; send 1 to {MAX_ATTRIBUTE_TEXT}"
                wrong.append(FieldViolation(f"{at}.texts[{index}]", problem))
        if not math.isfinite(each.number):
            wrong.append(FieldViolation(f"{at}.number", "is NaN or infinite; send a finite number"))
    if wrong:
        raise InvalidArgument(*wrong)


def require_one_person(user_id: str, visitor_id: str) -> None:
    """Exactly one of the two is set."""
    if user_id and visitor_id:
        raise InvalidArgument.of("visitor_id", "is set together with user_id; send exactly one of them")
    require_id("visitor_id" if visitor_id else "user_id", visitor_id or user_id)


def require_model_version(message: Any) -> None:
    """The message's `model_version` is set, and its texts are in their bounds."""
    check_texts(message)
    if not message.model_version:
        raise InvalidArgument.of("model_version", "is empty; name a model version")


def has_visible(text: str) -> bool:
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)


def _text_violations(message: Any) -> Iterator[FieldViolation]:
    """Of texts and of enums."""
    for field, value in message.ListFields():
        enum = _ENUMS.get(field.name)
        if enum is not None and value not in enum.values():
            yield FieldViolation(field.name, f"{value} is unknown; send a value of {enum.DESCRIPTOR.name}")
        rule = _TEXT_RULES.get(field.name) if field.type == FieldDescriptor.TYPE_STRING else None
        if rule is not None and (problem := rule(value)):
            yield FieldViolation(field.name, problem)


def _viewer(
    message: gateway_pb2.SearchRequest | gateway_pb2.RecommendRequest,
    query: str,
    token_keys: tuple[str, ...],
    wrong: list[FieldViolation],
    placement: str,
) -> Viewer:
    """`placement`: unless the request names one.

    Raises InvalidArgument that names `wrong` and whatever else is wrong.
    """
    if message.page_size < 0:
        wrong.append(FieldViolation("page_size", f"{message.page_size} is negative; send 1 to {MAX_PAGE_SIZE}"))
    try:
        narrowing = product_filter(message.filter, "filter")
    except InvalidArgument as error:
        raise InvalidArgument(*wrong, *error.violations) from None
    if wrong:
        raise InvalidArgument(*wrong)
    of_request = _fingerprint(message)
    page = PageToken(of_request)
    if message.page_token:
        page = PageToken.decode(message.page_token, of_request, *token_keys)
    return Viewer(
        page, message.user_id, message.visitor_id, message.session_id, query, narrowing,
        min(message.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE), message.explain,
        is_collapsed=message.collapse != product_pb2.COLLAPSE_MODE_NONE,
        offers=OfferTerms(message.price_list_id, message.currency_code, message.place_id, message.fulfilment),
        viewing=viewing_of(message),
        placement=message.placement or placement,
    )  # fmt: skip


def _fingerprint(message: gateway_pb2.SearchRequest | gateway_pb2.RecommendRequest) -> str:
    same, image = type(message)(), b""
    if isinstance(message, gateway_pb2.SearchRequest) and message.image:
        # A picture is hashed alone: copying and encoding megabytes would hold the event loop.
        image = hashlib.sha256(message.image).digest()
    for field, value in message.ListFields():
        if field.name in ("page_token", "page_size", "explain", "image"):
            continue
        if field.is_repeated:
            getattr(same, field.name).extend(value)
        elif field.message_type is not None:
            getattr(same, field.name).CopyFrom(value)
        else:
            setattr(same, field.name, value)
    return fingerprint(type(message).__name__, same.SerializeToString(deterministic=True), image)


def published_rules(snapshot: control_pb2.Snapshot) -> RuleSet:
    """The merchandising rules of a snapshot, and its sets of synonyms as rules. Raises InvalidArgument."""
    messages, synonyms = [], list[Rule]()
    for resource in snapshot.resources:
        if resource.HasField("merchandising_rule"):
            message = merchandising_pb2.MerchandisingRule()
            message.CopyFrom(resource.merchandising_rule)
            message.id = resource.id
            messages.append(message)
        elif resource.HasField("synonym_set"):
            words, source = tuple(resource.synonym_set.words), resource.synonym_set.one_way_from
            language = resource.synonym_set.locale.partition("-")[0].lower()
            action = Synonyms((source,), words, language=language) if source else Synonyms(words, (), True, language)
            synonyms.append(Rule(f"synonyms:{resource.id}", (action,)))
    return RuleSet(f"control-{snapshot.version}", (*checked_rules(messages), *synonyms))


@dataclass(frozen=True)
class PublishedConfiguration:
    """A serving configuration of control; `only_in_experiments`: it is effective in arms that name it only."""

    id: str
    configuration: ServingConfiguration
    only_in_experiments: bool


def published_configurations(snapshot: control_pb2.Snapshot) -> list[PublishedConfiguration]:
    """The serving configurations of a snapshot, by id. Raises InvalidArgument."""
    return [
        PublishedConfiguration(
            resource.id,
            configuration_of(
                MessageToDict(resource.serving_configuration, preserving_proto_field_name=True),
                f"serving_configuration {resource.id!r}",
            ),
            resource.serving_configuration.only_in_experiments,
        )
        for resource in snapshot.resources
        if resource.HasField("serving_configuration")
    ]


def published_experiments(snapshot: control_pb2.Snapshot) -> dict[str, Experiment]:
    """The experiments of a snapshot, by id. Raises InvalidArgument."""
    found = {}
    for resource in snapshot.resources:
        if resource.HasField("experiment"):
            try:
                found[resource.id] = Experiment.model_validate(
                    MessageToDict(resource.experiment, preserving_proto_field_name=True)
                )
            except ValidationError as error:
                raise InvalidArgument(*violations_of(error, f"experiment {resource.id!r}")) from None
    return found


def published_access(snapshot: control_pb2.Snapshot) -> TenantAccess:
    """The keys and quotas of the gateway that a snapshot has. Raises InvalidArgument.

    A key whose role is unknown, as a newer version of control may publish it, is left out.
    """
    id = snapshot.tenant
    tenant = next((one.tenant for one in snapshot.resources if one.HasField("tenant") and one.id == id), None)
    if tenant is None:
        return TenantAccess()
    quotas = {field.name: value for field, value in tenant.quotas.ListFields()}
    if wrong := [name for name, value in quotas.items() if not value > 0]:
        raise InvalidArgument.of(f"tenant.quotas.{wrong[0]}", "is not more than 0; publish a larger one")
    keys = [
        PublishedKey(key.sha256, role, _seconds(key.expires_at) if key.HasField("expires_at") else None)
        for key in tenant.keys
        for role in get_args(Role)
        if key.gateway_role == role
    ]
    return TenantAccess(tuple(keys), quotas)


def _seconds(moment: timestamp_pb2.Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9
