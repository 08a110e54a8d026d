"""Prints responses of the gateway for a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2
from kairos.sponsored.v1 import sponsored_pb2
from services.common.money import MINOR_UNIT_DECIMALS, in_minor_units

# A contribution that is printed as 0.00 is left out.
_LEAST = 0.005
# Characters of the longest bar of the waterfall.
_WATERFALL = 40
# Variants that are named beside a result.
_VARIANTS = 6
# Interactions of a profile that are printed.
_INTERACTIONS = 20


def print_results(
    console: Console, results: Sequence[gateway_pb2.Result], degradations: Sequence[common_pb2.Degradation],
    explain: bool = False,
) -> None:  # fmt: skip
    # An id is never cut: other commands take it.
    id_column = Column("id", no_wrap=True, overflow="fold")
    # A catalogue of courses or services has neither brands nor prices.
    with_brand = any(result.product.brand for result in results)
    with_price = any(result.HasField("price") for result in results)
    columns: Sequence[Column | str] = (
        "#",
        id_column,
        "product",
        *(["brand"] * with_brand),
        "category",
        *(["price"] * with_price),
        "score",
    )
    table = Table(*columns, box=None, pad_edge=False)
    is_met = True
    for result in results:
        product = result.product
        if is_met and result.HasField("meets_conditions") and not result.meets_conditions:
            is_met = False
            table.add_row("", "", "[dim]others, which do not meet all conditions or have other words[/]")
        table.add_row(
            str(result.position), escape(product.id), escape(shortened(product.title, 64)),
            *[escape(shortened(product.brand, 18))] * with_brand,
            escape(shortened("".join(product.category_path[-1:]), 22)),
            *[price_text(result)] * with_price, f"{result.score:.3f}",
        )  # fmt: skip
        if result.HasField("sponsored"):
            table.add_row("", "", f"[yellow]{escape(sponsored_text(result.sponsored))}[/]")
        if result.variants:
            table.add_row("", "", f"[dim]{escape(variants_text(result.variants))}[/]")
        if explain and result.reasons:
            table.add_row("", "", f"[dim]{escape(why(result.reasons))}[/]")
        if explain and result.sources:
            table.add_row("", "", f"[dim]{sources_text(result.sources)}[/]")
        if explain and result.explanation.rules:
            table.add_row("", "", f"[dim]{escape(rules_text(result.explanation.rules))}[/]")
    console.print(table)
    print_degradations(console, degradations)


def shortened(text: str, most: int) -> str:
    """At most `most` characters; "…" stands for what is cut."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def sponsored_text(label: gateway_pb2.SponsoredLabel) -> str:
    """For example "Sponsored · Acme · paid by Acme Inc. · because it fits the request, and of the query “coat”"."""
    because = ", and ".join(targeting_text(one) for one in label.targeting)
    parts = ["Sponsored", label.advertiser, f"paid by {label.payer}", f"because {because}" if because else ""]
    return " · ".join(filter(None, parts))


def targeting_text(parameter: sponsored_pb2.TargetingParameter) -> str:
    if parameter.kind == sponsored_pb2.TARGETING_KIND_RELEVANCE:
        return "it fits the request"
    if parameter.kind == sponsored_pb2.TARGETING_KIND_AUDIENCE:
        return f"you have declared “{parameter.value}”"
    name = sponsored_pb2.TargetingKind.Name(parameter.kind).removeprefix("TARGETING_KIND_").lower()
    return f"of the {name} “{parameter.value}”"


def variants_text(variants: Sequence[product_pb2.Variant]) -> str:
    """For example "also: navy · white (sold out)"; a variant without attributes by its id."""
    parts = []
    for variant in variants[:_VARIANTS]:
        values = [" ".join(entry.values) for _, entry in sorted(variant.attributes.items())]
        text = ", ".join(values) or variant.product_id
        parts.append(text if variant.in_stock else f"{text} (sold out)")
    more = f" and {len(variants) - _VARIANTS} more" if len(variants) > _VARIANTS else ""
    return f"also: {' · '.join(parts)}{more}"


def facet_parts(facet: product_pb2.Facet) -> list[str]:
    """Each value and each range with its count."""
    parts = [f"{count.value} {count.count}" for count in facet.counts]
    for entry in facet.ranges:
        if entry.HasField("price"):
            low, high = money_text(entry.price.minimum), money_text(entry.price.maximum)
            parts.append(f"{low} to {high} {entry.count}" if high != "–" else f"{low} and above {entry.count}")
        else:
            parts.append(f"{entry.minimum:g} to {entry.maximum:g} {entry.count}")
    return parts


def price_text(result: gateway_pb2.Result) -> str:
    if not result.HasField("price"):
        return "–"
    offer, listed = money_text(result.price.offer), money_text(result.price.list_price)
    return offer if offer == listed else f"{offer} [strike dim]{listed}[/]"


def money_text(money: common_pb2.Money) -> str:
    """For example "USD 1,299.00"; "–" for an absent amount."""
    if not money.currency_code:
        return "–"
    amount = money.units + Decimal(money.nanos).scaleb(-9)
    if money.currency_code in MINOR_UNIT_DECIMALS:
        amount = in_minor_units(amount, money.currency_code)
    return f"{money.currency_code} {amount:,f}"


def why(reasons: Sequence[ranker_pb2.Reason]) -> str:
    """The reasons with their contributions, in the order of the response, without those that contribute nothing."""
    parts = []
    for reason in reasons:
        if abs(reason.contribution) < _LEAST:
            continue
        text = group_name(reason.type)
        if reason.history_item_ids:
            text += f" ({', '.join(reason.history_item_ids[:2])})"
        parts.append(f"{text} {reason.contribution:+.2f}")
    return " · ".join(parts)


def group_name(reason: ranker_pb2.ReasonType.ValueType) -> str:
    """The contract's name in words: a shopper's own text is in the domain of the gateway."""
    return ranker_pb2.ReasonType.Name(reason).removeprefix("REASON_TYPE_").lower().replace("_", " ")


def sources_text(sources: Sequence[ranker_pb2.CandidateSource.ValueType]) -> str:
    """For example "from: bought together, similar"."""
    names = (ranker_pb2.CandidateSource.Name(source).removeprefix("CANDIDATE_SOURCE_") for source in sources)
    return "from: " + ", ".join(name.lower().replace("_", " ") for name in names)


def rules_text(rules: Sequence[gateway_pb2.FiredRule]) -> str:
    """For example "rules: brand cap (Acme, 2) · similarity -0.12"."""
    parts = []
    for rule in rules:
        text = gateway_pb2.RuleType.Name(rule.type).removeprefix("RULE_TYPE_").lower().replace("_", " ")
        details = [detail for detail in (rule.subject, str(rule.count or "")) if detail]
        text += f" ({', '.join(details)})" if details else ""
        parts.append(text + (f" {rule.effect:+.2f}" if rule.effect else ""))
    return "rules: " + " · ".join(parts)


def print_interpretation(console: Console, read: gateway_pb2.QueryInterpretation) -> None:
    """What the query encoder read from a query."""
    if not read.language:
        return
    text = f"[dim]language {read.language}"
    if read.corrected_text != read.normalized_text:
        text += f" · corrected to “{escape(read.corrected_text)}”"
    if read.rendered_text:
        text += f" · in English “{escape(read.rendered_text)}”"
    for other in read.also_searched:
        text += f" · also searched: “{escape(other.alternative)}” for “{escape(other.matched_text)}”"
    for constraint in read.constraints:
        kind = encoder_pb2.ConstraintType.Name(constraint.type).removeprefix("CONSTRAINT_TYPE_").lower()
        kind = constraint.attribute or kind
        text += f" · {kind}: {escape(constraint.value or constraint.matched_text)}"
    if read.product_type:
        text += f" · type: {escape(read.product_type)}"
    console.print(text)
    if read.HasField("understanding"):
        console.print(f"[dim]{escape(understanding_text(read.understanding))}")


def print_match(console: Console, answer: gateway_pb2.SearchResponse) -> None:
    """What would help a search without a good match; otherwise the words that no product has."""
    if answer.HasField("no_good_match"):
        console.print(f"[yellow]{escape(answer.no_good_match.text)}")
    elif answer.missing_words:
        console.print(f"[dim]no product has: {escape(', '.join(answer.missing_words))}")


def print_merchandising(console: Console, said: gateway_pb2.Merchandising) -> None:
    """The rules that had an effect, and where they send the shopper."""
    if said.searched_text:
        console.print(f"[dim]rules search for: {escape(said.searched_text)}")
    if said.redirect_url:
        console.print(f"[dim]rules redirect to: {escape(said.redirect_url)}")
    if said.applied_rules:
        console.print(f"[dim]rules: {escape(', '.join(rule.id for rule in said.applied_rules))}")


def understanding_text(read: encoder_pb2.Understanding) -> str:
    """For example "about: find (0.98) · category Shoes > Boots (rule)". A number is the probability of the network."""

    def sure(guess: encoder_pb2.IntentGuess | encoder_pb2.CategoryGuess | encoder_pb2.SentimentGuess) -> str:
        by_rule = guess.source == encoder_pb2.UNDERSTANDING_SOURCE_RULE
        return "rule" if by_rule else f"{guess.confidence:.2f}"

    intent = encoder_pb2.Intent.Name(read.intent.value).removeprefix("INTENT_").lower()
    parts = [f"about: {intent} ({sure(read.intent)})"]
    if read.HasField("category"):
        parts.append(f"category {read.category.value} ({sure(read.category)})")
    if read.sentiment.value != encoder_pb2.SENTIMENT_NEUTRAL:
        mood = encoder_pb2.Sentiment.Name(read.sentiment.value).removeprefix("SENTIMENT_").lower()
        parts.append(f"{mood} ({sure(read.sentiment)})")
    parts += [f"{tag.name} {tag.value}" for tag in read.tags]
    return " · ".join(parts)


def print_suggestions(console: Console, answer: gateway_pb2.SuggestResponse) -> None:
    for suggestion in answer.suggestions:
        kind = encoder_pb2.SuggestionKind.Name(suggestion.kind).removeprefix("SUGGESTION_KIND_").lower()
        corrected = " · spelling corrected" * suggestion.spelling_corrected
        console.print(f"{escape(suggestion.text)}  [dim]{kind}{corrected}")
    print_degradations(console, answer.degradations)


def print_degradations(console: Console, degradations: Sequence[common_pb2.Degradation]) -> None:
    """A line for each stage that was skipped, with the reason and the fallback."""
    for degradation in degradations:
        console.print(f"[yellow]degraded: {escape(degradation_text(degradation))}")


def degradation_text(degradation: common_pb2.Degradation) -> str:
    stage = common_pb2.Stage.Name(degradation.stage).removeprefix("STAGE_").lower()
    reason = common_pb2.DegradationReason.Name(degradation.reason).removeprefix("DEGRADATION_REASON_").lower()
    return f"{stage} ({reason.replace('_', ' ')}), fallback: {degradation.fallback}"


def print_waterfall(console: Console, timings: Sequence[common_pb2.StageTiming]) -> None:
    """A bar for each stage: when it was called after the request arrived, and how long it took."""
    end = max((timing.start_ms + timing.latency_ms for timing in timings), default=0.0)
    for timing in timings:
        stage = common_pb2.Stage.Name(timing.stage).removeprefix("STAGE_").lower()
        before = round(_WATERFALL * timing.start_ms / end) if end else 0
        width = max(1, round(_WATERFALL * timing.latency_ms / end)) if end else 0
        bar = " " * before + "█" * width
        console.print(f"  {stage:<14}{bar:<{_WATERFALL + 1}} {timing.latency_ms:6.1f} ms of {timing.budget_ms:.0f}")


def print_quotes(console: Console, answer: gateway_pb2.QuotePricesResponse) -> None:
    table = Table("product", "list", "floor", "ceiling", "offer", "reason", box=None, pad_edge=False)
    for quote in answer.quotes:
        amounts = [money_text(m) for m in (quote.list_price, quote.price_floor, quote.price_ceiling, quote.offer)]
        # An id is never cut: `kairos price explain` takes it.
        about = f"{escape(quote.explanation)}\n[dim]quote {quote.quote_id}[/]"
        table.add_row(escape(quote.item_id), *amounts, about)
    console.print(table)
    for name, ids in (("unknown", answer.missing_ids), ("without a price", answer.unpriced_ids)):
        if ids:
            console.print(f"[yellow]{name}: {escape(', '.join(ids))}")


def print_attributes(console: Console, attributes: Iterable[profile_pb2.UserAttribute]) -> None:
    for attribute in attributes:
        value = ", ".join(attribute.texts) if attribute.texts else f"{attribute.number:g}"
        until = attribute.expires_at.ToDatetime().date()
        console.print(f"{escape(attribute.name)}: {escape(value)}  [dim]until {until}")


def print_profile(console: Console, profile: profile_pb2.UserProfile) -> None:
    print_attributes(console, profile.attributes)
    if not profile.recent and not profile.shown_item_ids:
        if profile.attributes:
            return
        console.print("nothing is stored for this user")
        return
    for interest in profile.interests:
        console.print(f"[bold]{interest.share:>4.0%}[/]  similar to {escape(', '.join(interest.item_ids))}")
    for taste in profile.price_affinities:
        console.print(f"[dim]usual price {taste.typical_price:,.2f} in {escape(taste.category)}")
    for purchase in profile.purchases:
        excluded = "" if purchase.recommendable else ", recently purchased, not recommended"
        console.print(f"bought {escape(purchase.item_id)} on {purchase.day_count} days{excluded}")
    table = Table("time", "type", "item or query", "category", box=None, pad_edge=False)
    for event in profile.recent[:_INTERACTIONS]:
        kind = event_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_").lower()
        when = event.occurred_at.ToDatetime().isoformat(" ", "seconds")
        table.add_row(when, kind, escape(event.item_id or event.query), escape(event.category))
    console.print(table)
    if len(profile.recent) > _INTERACTIONS:
        console.print(f"[dim]and {len(profile.recent) - _INTERACTIONS} earlier ones")
