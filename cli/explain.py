"""`kairos explain`: why a product has its position in the results, or why it is not among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.calls import call, out, print_json
from cli.options import Brands, Categories, Json, Literal, Session, User, Visitor
from cli.render import group_name, money_text, print_degradations, print_waterfall, rules_text
from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2

# A contribution that is printed as 0.000 is left out.
_LEAST = 0.0005
# Characters of the longest bar.
_BAR = 24


def explain(
    context: typer.Context,
    item: Annotated[str, typer.Argument(help="Id of the product.")],
    query: Annotated[str, typer.Option(help="Query of the search. Empty: explain a recommendation.")] = "",
    user: User = "",
    visitor: Visitor = "",
    session: Session = "",
    locale: Annotated[str, typer.Option(help="zh: a Chinese explanation. Empty: the language of the query.")] = "",
    brand: Brands = [],  # noqa: B006 - Typer wants a list
    category: Categories = [],  # noqa: B006
    literal: Literal = False,
    as_json: Json = False,
) -> None:
    """Explain the position of a product in a search or a recommendation."""
    conditions = product_pb2.ProductFilter(brands=brand, categories=category)
    message = gateway_pb2.ExplainItemRequest(item_id=item)
    if query:
        search = gateway_pb2.SearchRequest(
            query=query, user_id=user, visitor_id=visitor, session_id=session, locale=locale, filter=conditions,
            literal_query=literal,
        )  # fmt: skip
        message.search.CopyFrom(search)
    else:
        recommend = gateway_pb2.RecommendRequest(
            user_id=user, visitor_id=visitor, session_id=session, locale=locale, filter=conditions
        )
        message.recommend.CopyFrom(recommend)
    answer = call(context, "ExplainItem", message)
    if as_json:
        print_json(answer)
    else:
        print_explanation(out, answer)


def print_explanation(console: Console, answer: gateway_pb2.ExplainItemResponse) -> None:
    result = answer.result
    console.print(f"[bold]{escape(result.product.title)}[/]")
    console.print(escape(result.explanation.text))
    if result.position:
        console.print(f"[dim]{escape(_scores_text(result))}")
    if result.reasons:
        console.print(_groups(result))
    for line in _details(result):
        console.print(f"  {escape(line)}")
    print_degradations(console, answer.degradations)
    print_waterfall(console, answer.timings)


def _scores_text(result: gateway_pb2.Result) -> str:
    """The scores of each stage, for example "retrieval: position 20, score 0.812 (dense 0.61, lexical 7.2) · ranker
    1.420".
    """
    scores, parts = result.stage_scores, list[str]()
    if scores.retrieval_position:
        legs = f"(dense {scores.dense:.2f}, lexical {scores.lexical:.2f})"
        parts.append(f"retrieval: position {scores.retrieval_position}, score {scores.retrieval:.3f} {legs}")
    if scores.HasField("ranker"):
        parts.append(f"ranker {scores.ranker:.3f}")
    parts += [f"{task.task} {task.value:.3f}" for task in scores.task_scores]
    if result.HasField("price"):
        parts.append(f"price {money_text(result.price.offer)}")
    return " · ".join(parts)


def _groups(result: gateway_pb2.Result) -> Table:
    """A bar for each group of features: its contribution to the score."""
    table = Table("group", "", "contribution", box=None, pad_edge=False)
    largest = max(abs(reason.contribution) for reason in result.reasons)
    for reason in result.reasons:
        if abs(reason.contribution) < _LEAST:
            continue
        length = round(_BAR * abs(reason.contribution) / largest) if largest else 0
        colour = "green" if reason.contribution > 0 else "red"
        table.add_row(group_name(reason.type), f"[{colour}]{'█' * length}[/]", f"{reason.contribution:+.3f}")
    table.add_row("[dim]baseline[/]", "", f"[dim]{result.explanation.baseline:+.3f}[/]")
    return table


def _details(result: gateway_pb2.Result) -> Iterator[str]:
    """A line for each influential event and each concept edge, and a line with the rules."""
    for event in result.explanation.events:
        yield _event_text(event)
    for edge in result.explanation.concept_edges:
        yield f"“{edge.matched_text}” → {edge.concept_id} → “{edge.expansion}”"
    if result.explanation.rules:
        yield rules_text(result.explanation.rules)


def _event_text(event: ranker_pb2.InfluentialEvent) -> str:
    kind = event_pb2.EventType.Name(event.event.type).removeprefix("EVENT_TYPE_").lower()
    when = event.event.occurred_at.ToDatetime().isoformat(" ", "minutes")
    direction = "raises" if event.share > 0 else "lowers"
    return (
        f"{kind} of {event.event.item_id} ({event.event.category or 'no category'}) at {when}: "
        f"{direction} the score, {abs(event.share):.0%} of the history's influence; similarity {event.similarity:.2f}"
    )
