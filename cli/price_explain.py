"""`kairos price explain`: why a quoted price was what it was, by what control has on record."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.markup import escape

from cli.audit_archive import AuditArchive
from cli.calls import failed, out
from cli.control_client import PAGE, Client, checked_input, client_at, dictionary_of, moment_text
from cli.options import Json
from cli.render import money_text
from kairos.common.v1 import offer_pb2
from kairos.control.v1 import audit_pb2, control_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.convert import money_from_proto

_NEEDS_CONTROL = (
    "`kairos price explain` needs control, where quotes and decisions about prices are on record: start it with"
    " `kairos up`, or name it with --control."
)
_NOT_FOUND = (
    "The id of a quote is in the answer of QuotePrices and of a search. After 7 days quotes are in the archive only:"
    " name it with --archive (docs/how-to/control.md#what-is-on-record)."
)
# Pages of decisions about one product that are read.
_PAGES = 10
# A decision is published within this time, and clocks differ by less than the other: in seconds.
_SOON_S, _SKEW_S = 60, 2
_COMPUTED_BY_NOBODY = offer_pb2.PRICE_GUARDRAIL_UNSPECIFIED


@dataclass(frozen=True)
class Explained:
    """A quote, the decision about its price, and the review of that. `is_in_force`: the decision led to the quoted
    price; otherwise it is the last one before the quote, and did not apply.
    """

    quoted: audit_pb2.AuditEntry
    decision: audit_pb2.AuditEntry | None = None
    is_in_force: bool = False
    review: control_pb2.Resource | None = None


def explain(
    context: typer.Context,
    quote_id: Annotated[str, typer.Argument(metavar="QUOTE", help="Id of a quote.")],
    control: Annotated[
        str, typer.Option(envvar="KAIROS_CONTROL_TARGET", help="Address of control, host:port.")
    ] = "127.0.0.1:50060",
    control_key: Annotated[
        str, typer.Option(envvar="KAIROS_CONTROL_API_KEY", help="API key of control. Empty: none is sent.")
    ] = "",
    tenant: Annotated[str, typer.Option(help="Tenant. Default: that of the key.")] = "",
    archive: Annotated[
        str, typer.Option(help="Archive of the audit, a folder or a URL: for what is older than 7 days.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Explain a price that was quoted: policy, demand, guardrail, review, and what the list price would have earned.

    It says what was known when the price was decided, also after the price has changed. The key needs the role viewer.
    Exit code 1 if the quote is unknown, 2 if control cannot be reached.
    """
    client = client_at(context, control, control_key, tenant, _NEEDS_CONTROL)
    asked = audit_pb2.GetEntryRequest(kind=audit_pb2.ENTRY_KIND_PRICE_QUOTE, id=quote_id)
    answer = client.call("GetEntry", asked, missing_is_fine=True)
    with checked_input():
        older = AuditArchive(archive, tenant) if archive else None
    quoted = older.quote(quote_id) if answer is None and older else answer and answer.entry
    if quoted is None:
        raise failed(f"control has no quote {quote_id!r}{' in database or archive' * bool(archive)}", _NOT_FOUND)
    found = explained(quoted, _decisions(client, quoted, older))
    if found.decision is not None and (review_id := found.decision.price_decision.review_id):
        review = client.resource(control_pb2.RESOURCE_KIND_REVIEW, review_id)
        found = Explained(found.quoted, found.decision, found.is_in_force, review)
    if as_json:
        parts = {"quote": found.quoted, "decision": found.decision, "review": found.review}
        document = {name: None if part is None else dictionary_of(part) for name, part in parts.items()}
        print(json.dumps({**document, "decision_applies": found.is_in_force}, ensure_ascii=False))
        return
    for label, text in sentences(found):
        out.print(f"[bold]{label:<12}[/]{escape(text)}", soft_wrap=True, highlight=False)


def explained(quoted: audit_pb2.AuditEntry, decisions: Iterable[audit_pb2.AuditEntry]) -> Explained:
    """`decisions` about the product, made before the quote, the newest first. No more are read than are needed.

    A price that was computed is that of the newest decision with this price. Otherwise the newest decision counts, or
    the one before it as long as it is being published. A list without a price of its own has the default list's price.
    """
    item, quote = quoted.quoted_price.item, quoted.quoted_price.quote
    is_computed, last = quote.guardrail != _COMPUTED_BY_NOBODY, None
    left = dict.fromkeys((item.price_list_id, ""), math.inf if is_computed else 1)
    for one in decisions:
        made = one.price_decision
        if left.get(made.price_list_id, 0) <= 0:
            continue
        if (made.price, made.list_price) == (quote.offer, quote.list_price):
            return Explained(quoted, one, is_in_force=True)
        last = last or one
        is_soon = _seconds(quote.quoted_at) - _seconds(one.recorded_at) < _SOON_S
        left[made.price_list_id] -= not is_soon
        if not any(more > 0 for more in left.values()):
            break
    return Explained(quoted, last)


def sentences(found: Explained) -> Iterator[tuple[str, str]]:
    """(label, text), for a merchandiser."""
    quote, item = found.quoted.quoted_price.quote, found.quoted.quoted_price.item
    where = f" in the price list {item.price_list_id!r}" if item.price_list_id else ""
    where += f" at {item.place_id!r}" if item.place_id else ""
    yield "price", f"{money_text(quote.offer)} for {quote.item_id}{where}, {_against_list(quote)}."
    yield (
        "quoted",
        f"{moment_text(quote.quoted_at)} UTC, valid until {moment_text(quote.valid_until)} UTC: {quote.explanation}",
    )
    if quote.HasField("lowest_price_30_days"):
        yield "30 days", f"Before this price the lowest of 30 days was {money_text(quote.lowest_price_30_days)}."
    if found.decision is None or not found.is_in_force:
        yield "decision", _why_none(found)
        return
    made = found.decision.price_decision
    yield "decision", _decided(found.decision)
    yield (
        "policy",
        f"{made.model_version}{f', price policy {made.policy_id!r}' if made.policy_id else ''}: {_why(made)}",
    )
    if made.HasField("experiment_arm"):
        yield "experiment", f"Arm {made.experiment_arm.arm!r} of {made.experiment_arm.experiment!r}."
    yield "guardrail", _guardrail(made)
    if made.HasField("elasticity"):
        yield from _demand(made)
    if made.HasField("competitor_price"):
        yield "competitor", f"The lowest observed price was {money_text(made.competitor_price)}."
    yield "review", _review(made, found.review)


def _decisions(
    client: Client, quoted: audit_pb2.AuditEntry, older: AuditArchive | None
) -> Iterator[audit_pb2.AuditEntry]:
    """Of the quote's product, the newest first."""
    quote = quoted.quoted_price.quote
    request = audit_pb2.ListEntriesRequest(
        kind=audit_pb2.ENTRY_KIND_PRICE_DECISION, subject_id=quote.item_id, page_size=PAGE
    )
    request.until.CopyFrom(quote.quoted_at)
    request.until.seconds += _SKEW_S
    for _ in range(_PAGES):
        answer = client.call("ListEntries", request)
        yield from answer.entries
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    if older is not None:
        yield from older.decisions(quote.item_id, request.until.ToDatetime(UTC))


def _why_none(found: Explained) -> str:
    quote, item = found.quoted.quoted_price.quote, found.quoted.quoted_price.item
    if quote.guardrail != _COMPUTED_BY_NOBODY:
        return (
            "The price was computed, and its decision was not found: it is in the archive (--archive), or the price"
            " publisher did not record it (KAIROS_PRICE_PUBLISHER_CONTROL__TARGET, and a key with the role recorder)."
        )
    if found.decision is None:
        return "Nothing was computed about this product: the shop's own price applies."
    made, when = found.decision.price_decision, moment_text(found.decision.recorded_at)
    last = f"The last decision ({when} UTC) was {money_text(made.price)}, and did not apply"
    if made.list_price != quote.list_price:
        return f"{last}: the shop has changed its price from {money_text(made.list_price)} since."
    if item.place_id:
        return f"{last}: the place has a price of its own."
    return f"{last}: the shop's own price was in force, by a sale or because computed prices were switched off."


def _decided(entry: audit_pb2.AuditEntry) -> str:
    made = entry.price_decision
    before = f"; before it was {money_text(made.price_before)}" if made.HasField("price_before") else ""
    until = (
        f"holds until {moment_text(made.valid_until)} UTC" if made.HasField("valid_until") else "holds until it changes"
    )
    return f"Made {moment_text(entry.recorded_at)} UTC, {until}{before}."


def _why(made: audit_pb2.PriceDecision) -> str:
    texts = {
        pricing_pb2.PRICE_REASON_DEMAND: (
            "Of the prices that the guardrails allowed, it is expected to bring the best result."
        ),
        pricing_pb2.PRICE_REASON_EXPLORATION: (
            f"The price is tried to learn the demand; {money_text(made.best_price)} was expected to bring the most."
        ),
        pricing_pb2.PRICE_REASON_CLEARANCE: "The price is expected to bring the most for the stock until its date.",
    }
    return texts.get(made.reason, made.explanation)


def _guardrail(made: audit_pb2.PriceDecision) -> str:
    allowed = ""
    if made.HasField("price_floor"):
        allowed = f" Allowed was {money_text(made.price_floor)} to {money_text(made.price_ceiling)}."
    if made.guardrail <= offer_pb2.PRICE_GUARDRAIL_NONE:
        return f"None held the price.{allowed}"
    name = offer_pb2.PriceGuardrail.Name(made.guardrail).removeprefix("PRICE_GUARDRAIL_").lower().replace("_", " ")
    wanted = f" in place of {money_text(made.proposed_price)}" if made.HasField("proposed_price") else ""
    return f"{name.capitalize()} held the price at {money_text(made.price)}{wanted}.{allowed}"


def _demand(made: audit_pb2.PriceDecision) -> Iterator[tuple[str, str]]:
    effect = _estimate(made.elasticity, "{:.1f} %")
    yield "elasticity", f"1 % more of price changes demand by {effect}."
    units, at_list = (_estimate(each, "{:.2f}") for each in (made.units, made.units_at_list_price))
    yield "demand", f"{units} pieces a day were expected at this price, {at_list} at the list price."
    if made.measure == audit_pb2.PRICE_MEASURE_UNITS:
        return
    currency = made.list_price.currency_code
    name = "profit" if made.measure == audit_pb2.PRICE_MEASURE_PROFIT else "revenue"
    here, there = (_estimate(each, f"{currency} {{:,.2f}}") for each in (made.result, made.result_at_list_price))
    text = f"{here} a day expected at this price; the list price would have earned {there}."
    if made.HasField("result_ratio") and made.price != made.list_price:
        ratio = audit_pb2.Estimate(
            mean=made.result_ratio.mean - 1, low=made.result_ratio.low - 1, high=made.result_ratio.high - 1
        )
        text += f" Against the list price: {_estimate(ratio, '{:+.1%}')}."
    yield name, text


def _estimate(made: audit_pb2.Estimate, form: str) -> str:
    """For example "-2.5 % (90 % interval -3.0 % to -2.0 %)"."""
    mean, low, high = (form.format(value) for value in (made.mean, made.low, made.high))
    return f"{mean} (90 % interval {low} to {high})"


def _review(made: audit_pb2.PriceDecision, review: control_pb2.Resource | None) -> str:
    by = ""
    if review is not None and review.review.decision:
        note = f": {review.review.note}" if review.review.note else ""
        by = f" by {review.changed_by} at {moment_text(review.updated_at)} UTC{note}"
    match made.review:
        case audit_pb2.PRICE_REVIEW_WAITING:
            decided = f" It was decided later{by}." if by else f" `kairos reviews list` has it: {made.review_id}."
            return f"The change to {money_text(made.proposed_price)} waited for a person; the price stayed.{decided}"
        case audit_pb2.PRICE_REVIEW_APPROVED:
            return f"A person has approved the price{by or f' (review {made.review_id})'}."
        case audit_pb2.PRICE_REVIEW_REJECTED:
            return "A person has rejected a similar price, which bounds this one."
    return "No person was asked."


def _against_list(quote: pricing_pb2.PriceQuote) -> str:
    listed, offer = (money_from_proto(each, "price").amount for each in (quote.list_price, quote.offer))
    if listed == offer or not listed:
        return "the list price"
    return f"{offer / listed - 1:+.1%} against the list price of {money_text(quote.list_price)}"


def _seconds(moment: Timestamp) -> float:
    return moment.ToNanoseconds() / 1e9
