"""`kairos rules`: merchandising rules in a YAML file are checked, and tried on the queries of the shop."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from catalog.rows import FileRefused
from cli.calls import call, connection_of, err, failed, out, print_json
from cli.options import Json
from cli.queries import read_query_rows
from kairos.control.v1 import merchandising_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.errors import InvalidArgument
from services.common.limits import MAX_PREVIEWS, MAX_QUERY
from services.common.yaml_message import message_from_yaml

# The gateway ends a preview after 30 s with what it has.
_PREVIEW_S = 35.0
# Of each order that is printed; --json has ten.
_SHOWN = 5

app = typer.Typer(no_args_is_help=True, help="Merchandising rules of a YAML file.")

RulesFile = Annotated[Path, typer.Argument(help="YAML file with the rules: see how-to/merchandising-rules.")]


@app.command()
def check(file: RulesFile, as_json: Json = False) -> None:
    """Read rules as the gateway does, and print how many there are of each action. Exit code 2 if the file is wrong."""
    # Imported here: it needs libraries that a client of the gateway does not.
    from services.gateway.adapters.rules_file import load_rules

    try:
        found = load_rules(file)
    except InvalidArgument as error:
        raise failed(
            "\n".join(f"{wrong.field}: {wrong.description}" for wrong in error.violations), exit_code=2
        ) from None
    actions = Counter(type(action).__name__ for rule in found.rules for action in rule.actions)
    if as_json:
        out.print_json(data={"version": found.version, "rules": len(found.rules), "actions": dict(actions)})
        return
    out.print(f"{len(found.rules)} rules, version {found.version}")
    for name, count in sorted(actions.items()):
        out.print(f"{name:<14}{count}")


@app.command()
def preview(
    context: typer.Context,
    file: RulesFile,
    rule: Annotated[
        list[str], typer.Option(help="Id of a rule to try. May be repeated, at most ten. Default: all of the file.")
    ] = [],  # noqa: B006 - Typer wants a list
    queries: Annotated[
        Path | None,
        typer.Option(help="Queries: a .txt file with one a line, or CSV or JSON lines with `query`. Default: the log."),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, max=MAX_PREVIEWS, help="The number of most frequent queries of the log to try.")
    ] = 100,
    at: Annotated[
        datetime | None, typer.Option(help="Time at which the rules are to apply, in UTC. Default: now.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print what rules would change in searches, and why one does not apply. Nothing is published."""
    message = gateway_pb2.PreviewRulesRequest(rules=_chosen(file, rule))
    if queries is None:
        message.query_count = top
    else:
        try:
            asked = [query[:MAX_QUERY] for query, _ in read_query_rows(queries) if query.strip()]
        except FileRefused as error:
            raise failed(str(error), exit_code=2) from None
        message.queries.extend(asked[:MAX_PREVIEWS])
    if at is not None:
        message.at_time.FromDatetime(at.replace(tzinfo=UTC))
    connection = connection_of(context)
    context.obj = replace(connection, timeout_s=max(connection.timeout_s, _PREVIEW_S))
    answer: gateway_pb2.PreviewRulesResponse = call(context, "PreviewRules", message)
    if as_json:
        print_json(answer)
        return
    _print(answer)


def _chosen(file: Path, ids: list[str]) -> list[merchandising_pb2.MerchandisingRule]:
    try:
        found = message_from_yaml(file.read_text("utf-8"), file.name, merchandising_pb2.MerchandisingRules)
    except (OSError, UnicodeDecodeError) as error:
        raise failed(f"{file} cannot be read: {error}", exit_code=2) from None
    except InvalidArgument as error:
        raise failed(
            "\n".join(f"{wrong.field}: {wrong.description}" for wrong in error.violations), exit_code=2
        ) from None
    if unknown := sorted(set(ids) - {each.id for each in found.rules}):
        raise failed(
            f"{file} has no rule {unknown[0]!r}; it has {', '.join(each.id for each in found.rules)}", exit_code=2
        )
    return [each for each in found.rules if not ids or each.id in ids]


def _refused(error: InvalidArgument) -> typer.Exit:
    return failed("\n".join(f"{wrong.field}: {wrong.description}" for wrong in error.violations), exit_code=2)


def _print(answer: gateway_pb2.PreviewRulesResponse) -> None:
    changes = [each for each in answer.previews if each.HasField("merchandising")]
    table = Table("query", "count", "before", "after", "total", "rules", box=None)
    for each in changes:
        totals = [str(each.total_size_before), str(each.total_size_after)]
        table.add_row(
            escape(each.query), str(each.count), escape(" ".join(each.item_ids_before[:_SHOWN])),
            escape(" ".join(each.item_ids_after[:_SHOWN])), " → ".join(dict.fromkeys(totals)),
            escape(", ".join(one.id for one in each.merchandising.applied_rules)),
        )  # fmt: skip
    if changes:
        out.print(table)
    out.print(f"{len(changes)} of {len(answer.previews)} queries have one of the rules.")
    lacking = Counter(
        (unmet.rule_id, condition)
        for each in answer.previews
        for unmet in each.unmet_rules
        for condition in unmet.conditions
    )
    for (rule_id, condition), count in sorted(lacking.items()):
        out.print(f"{escape(rule_id)}: {count} queries do not meet its condition on {condition}")
    if answer.missing_ids:
        err.print(f"[yellow]The catalogue does not have: {escape(', '.join(answer.missing_ids))}")
    if not answer.is_complete:
        err.print("[yellow]The time was over, or a stage did not answer, before all queries were tried.")
