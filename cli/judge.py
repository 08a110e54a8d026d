"""`kairos judge`: a person grades the results of searches, and settings are compared by these grades."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from catalog.rows import FileRefused
from cli.calls import connection_of, err, failed, out
from cli.judging import (
    DEPTH,
    MAX_GRADE,
    MAX_QUERIES,
    MAX_SETTINGS,
    Pool,
    Setting,
    add_results,
    parse_settings,
    read_pool,
    report_of,
    write_pool,
)
from cli.options import Json
from cli.queries import read_query_rows
from cli.render import degradation_text
from kairos.gateway.v1 import gateway_pb2_grpc
from ops.client import Connection, explain_error
from services.common.limits import MAX_QUERY

app = typer.Typer(no_args_is_help=True, help="Grades of search results by a person.")


@app.command()
def pool(
    context: typer.Context,
    queries: Annotated[
        Path, typer.Argument(help="Queries: a .txt file with one a line, or CSV or JSON lines with `query`.")
    ],
    to: Annotated[
        Path, typer.Option("--out", help="CSV file to write. If it exists, its grades stay and new rows are added.")
    ] = Path("pool.csv"),
    setting: Annotated[
        list[str],
        typer.Option(
            help="NAME, NAME=HOST:PORT of another gateway, or NAME={fields of SearchRequest as JSON}. May be "
            f"repeated, at most {MAX_SETTINGS} in one file.",
        ),
    ] = ["default"],  # noqa: B006 - Typer wants a list
    as_json: Json = False,
) -> None:
    """Search for each query with each setting, and write the first ten results of all of them to be graded."""
    try:
        settings = parse_settings(setting)
        asked = _queries(queries)
        found = read_pool(to) if to.exists() else {}
        if len(found.keys() | set(asked)) > MAX_QUERIES:
            raise ValueError(f"{to} would have more than {MAX_QUERIES:,} queries; choose another file for some of them")
        rows = sum(_ask(connection_of(context), each, asked, found) for each in settings)
        write_pool(to, found)
    except (FileRefused, ValueError) as error:
        raise failed(str(error), exit_code=2) from None
    ungraded = sum(entry.grade is None for products in found.values() for entry in products.values())
    empty = [query for query in asked if query not in found]
    if as_json:
        print(json.dumps({"file": str(to), "new_rows": rows, "ungraded_rows": ungraded, "without_results": empty}))
        return
    out.print(f"{rows:,} new rows, {ungraded:,} rows without a grade", highlight=False)
    if empty:
        out.print(f"no setting has a result for: {escape(', '.join(empty))}", soft_wrap=True, highlight=False)
    err.print(
        f"Fill in the column `grade` of {escape(str(to))}: 0 wrong, 1 related, 2 good, {MAX_GRADE} exactly what was "
        "asked for. Then `kairos judge report`.",
        soft_wrap=True,
    )


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(help="The file of `kairos judge pool`. Its column `model_grade` is filled.")],
    endpoint: Annotated[str, typer.Option(help="Base URL of an endpoint with OpenAI's API: http://HOST:PORT/v1.")],
    model: Annotated[str, typer.Option(help="Name of the model at the endpoint.")],
    api_key: Annotated[str, typer.Option(help="Key of the endpoint.", envvar="KAIROS_JUDGE_API_KEY")] = "",
    timeout_s: Annotated[float, typer.Option(min=1, max=600, help="Seconds for one query.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Let a language model grade, beside the people, and print how well it agrees with them (Cohen's kappa)."""
    # Here: the client takes a second to import, and belongs to the extra `assistant`.
    from cli.model_grades import ModelGrader, add_model_grades, agreement_of

    try:
        pool = read_pool(file)
        added = add_model_grades(pool, ModelGrader(endpoint, model, api_key, timeout_s))
        write_pool(file, pool)
    except (FileRefused, ValueError) as error:
        raise failed(str(error), exit_code=2) from None
    except ConnectionError as error:
        raise failed(f"{error}; nothing was written") from None
    found = {"new_grades": added} | agreement_of(pool)
    if as_json:
        return print(json.dumps(found))
    out.print(f"{added:,} new grades of the model", highlight=False)
    if not found["rows"]:
        return out.print("no row has a person's grade as well: the agreement is unknown", highlight=False)
    out.print(f"{found['rows']:,} rows with both grades, {found['equal']:.0%} equal", highlight=False)
    plain, weighted = ("-" if found[key] is None else f"{found[key]:.2f}" for key in ("kappa", "weighted_kappa"))
    return out.print(f"kappa {plain}, with quadratic weights {weighted}", highlight=False)


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="The graded file of `kairos judge pool`.")],
    setting: Annotated[
        list[str],
        typer.Option(help="Setting to report. May be repeated. Two are compared. Default: all of the file."),
    ] = [],  # noqa: B006 - Typer wants a list
    with_model: Annotated[
        bool, typer.Option("--with-model", help="Use the model's grades where no person has graded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print NDCG@10 and P@5 of each setting, and compare two settings query by query."""
    try:
        pool = read_pool(file)
        if with_model:
            from cli.model_grades import with_model_grades

            pool = with_model_grades(pool)
        found = report_of(pool, setting)
    except (FileRefused, ValueError) as error:
        raise failed(str(error), exit_code=2) from None
    if as_json:
        return print(json.dumps(found, ensure_ascii=False))
    return _print(found)


def _queries(path: Path) -> list[str]:
    """Each query once, in the order of the file. Raises FileRefused and ValueError."""
    queries = list(dict.fromkeys(" ".join(text.split()) for text, _ in read_query_rows(path) if text.strip()))
    if not 1 <= len(queries) <= MAX_QUERIES:
        raise ValueError(f"{path} has {len(queries):,} queries; send 1 to {MAX_QUERIES:,}")
    if too_long := [query for query in queries if len(query) > MAX_QUERY]:
        raise ValueError(f"{path}: {too_long[0][:40]!r}… has {len(too_long[0])} characters; at most {MAX_QUERY}")
    return queries


def _ask(connection: Connection, setting: Setting, queries: list[str], found: Pool) -> int:
    """Adds the results of each query; returns the number of new rows. A degraded answer is refused: it would be graded
    as if it were the setting's.
    """
    rows = 0
    if setting.target:
        connection = replace(connection, target=setting.target)
    with ExitStack() as stack:
        stub: gateway_pb2_grpc.GatewayServiceStub = stack.enter_context(connection.stub())
        for query in queries:
            message = setting.of_query(query)
            try:
                answer = stub.Search(message, timeout=connection.timeout_s, metadata=connection.metadata)
            except grpc.RpcError as error:
                problem = f"{setting.name}, {query!r}: {explain_error(error)}"
                raise failed(problem, "nothing was written; run the command again") from None
            if answer.degradations:
                late = ", ".join(map(degradation_text, answer.degradations))
                hint = "nothing was written; see `kairos health`, raise --timeout, or ask when the suite is less busy"
                raise failed(f"{setting.name}, {query!r}: the answer is degraded ({late})", hint)
            results = [(result.product.id, result.product.title) for result in answer.results[:DEPTH]]
            rows += add_results(found, query, setting.name, results)
    return rows


def _print(report: dict[str, Any]) -> None:
    table = Table("setting", "judged queries", "NDCG@10", "P@5", "unjudged in the first ten", box=None, pad_edge=False)
    for each in report["settings"]:
        judged = f"{each['judged_queries']:,} of {report['queries']:,}"
        table.add_row(each["name"], judged, _text(each["ndcg@10"]), _text(each["p@5"]), f"{each['unjudged']:,}")
    out.print(table)
    if "difference" not in report:
        return
    change = report["difference"]
    first, second = change["settings"]
    counts = f"{change['better']} better, {change['worse']} worse"
    out.print(f"\n{second} less {first}, {change['queries']:,} queries: {counts}", highlight=False)
    out.print(f"NDCG@10 {_text(change['ndcg@10'], '+')}, P@5 {_text(change['p@5'], '+')}", highlight=False)
    if change["largest"]:
        table = Table("query", first, second, "difference", box=None, pad_edge=False)
        for row in change["largest"]:
            values = (f"{value:.3f}" for value in row["ndcg@10"])
            table.add_row(escape(row["query"]), *values, f"{row['difference']:+.3f}")
        out.print(table)


def _text(mean: dict[str, Any] | None, sign: str = "") -> str:
    """For example "0.512 (0.430 to 0.590)"."""
    if mean is None:
        return "none"
    low, high = mean["interval"]
    return f"{mean['mean']:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"
