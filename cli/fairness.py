"""`kairos fairness`: the exposure of groups of products against their merit, and what makes it follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import grpc
import typer
import yaml
from rich.markup import escape
from rich.table import Table

from cli.calls import err, failed, out
from cli.evaluation_log import CONTINUE_HINT, WindowHours, Work, suite_and_folder
from cli.options import DataDir, Json, Registry, Tenant
from cli.registries import RANKING, registries
from ops.client import explain_error
from services.common.context import DEFAULT_TENANT
from services.common.errors import InvalidArgument
from services.common.serving_configuration import ServingConfiguration

if TYPE_CHECKING:
    from training.evaluation.fairness_log import GroupedLog

app = typer.Typer(no_args_is_help=True, help=__doc__)

GroupBy = Annotated[str, typer.Option("--by", help="What the groups are: brand, or attributes.NAME.")]
Lists = Annotated[str, typer.Option(help="Rankings that count: search, recommend or all.")]
_LISTED = 20
# Digits of an offset: less moves nothing.
_DIGITS = 4


@app.command()
def report(
    context: typer.Context,
    by: GroupBy = "brand",
    lists: Lists = "search",
    html: Annotated[Path | None, typer.Option(help="HTML file to write.")] = None,
    window_hours: WindowHours = 24.0,
    work: Work = None,
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Report exposure against merit, NDCG@10, calibration and popularity bias of groups of products.

    Of the rankings that the log has whole. Needs a key with the role `write`. Exit code: 0; 1 the gateway refused; 2 an
    option or the log cannot be used.
    """
    # Imported here: they need libraries of the extra `train`, which other commands do not.
    from training.evaluation.fairness_log import report_of
    from training.evaluation.fairness_page import facts_of, page

    found = report_of(_read(context, by, lists, window_hours, work, registry, data_dir, tenant, as_json), by)
    if html is not None:
        try:
            html.write_text(page(found), encoding="utf-8")
        except OSError as error:
            raise failed(f"{html} cannot be written: {error}", "Name a file that can be written.", 2) from None
    if as_json:
        print(json.dumps(found.document(), ensure_ascii=False))
        return
    table = Table(by, "shown", "exposure", "due", "ratio", "NDCG", "clicked − predicted", box=None, pad_edge=False)
    for one in found.groups[:_LISTED]:
        table.add_row(
            escape(one.name), f"{one.shown:,}", f"{one.exposure:.1%}", f"{one.due:.1%}", f"{one.ratio:.2f}",
            f"{one.ndcg:.3f}", f"{-one.calibration:+.4f}",
        )  # fmt: skip
    out.print(table)
    if len(found.groups) > _LISTED:
        out.print(f"and {len(found.groups) - _LISTED:,} more; --json and --html have them")
    for name, text in facts_of(found):
        out.print(f"{name}: {escape(text)}", soft_wrap=True)


@app.command()
def fit(
    context: typer.Context,
    by: GroupBy = "brand",
    lists: Lists = "search",
    reduction: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Share of the exposure gap that is to be closed.")
    ] = 0.6,
    into: Annotated[
        Path | None, typer.Option(help="Serving configuration (YAML) that gets them as `exposure`.")
    ] = None,
    window_hours: WindowHours = 24.0,
    work: Work = None,
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Find the least offsets of groups with which exposure follows merit, and what they cost in NDCG@10.

    Prints `exposure` of a serving configuration. Nothing changes until the gateway reads such a configuration. Exit
    code: as `report`.
    """
    # Imported here: as above.
    from training.evaluation.fairness import fit_offsets

    log = _read(context, by, lists, window_hours, work, registry, data_dir, tenant, as_json)
    fitted = fit_offsets(log.grouped, reduction, log.halves)
    offsets = {
        name: round(float(offset), _DIGITS)
        for name, offset in zip(log.grouped.names, fitted.offsets, strict=True)
        if round(float(offset), _DIGITS)
    }
    figures = {
        "gap_before": fitted.gap_before, "gap_after": fitted.gap_after, "ndcg_before": fitted.ndcg_before,
        "ndcg_after": fitted.ndcg_after, "rankings": log.grouped.count,
    }  # fmt: skip
    exposure = {"group_by": by, "offsets": offsets}
    if into is not None and offsets:
        _write(into, exposure)
    if as_json:
        print(json.dumps({"exposure": exposure, **figures}, ensure_ascii=False))
        return
    out.print(
        f"exposure gap {fitted.gap_before:.1%}, with offsets {fitted.gap_after:.1%}; NDCG@10 {fitted.ndcg_before:.4f}, "
        f"with offsets {fitted.ndcg_after:.4f}, by merits of {log.grouped.count:,} rankings",
        soft_wrap=True,
    )
    if not offsets:
        out.print("no offset makes the gap smaller")
    elif into is None:
        print(yaml.safe_dump({"exposure": exposure}, allow_unicode=True, sort_keys=False), end="")
    else:
        out.print(f"written to {escape(str(into))}", soft_wrap=True)


@app.command()
def constraints(
    context: typer.Context,
    out_file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON file to write.")],
    by: GroupBy = "brand",
    lists: Lists = "search",
    most: Annotated[
        list[str] | None,
        typer.Option(help="GROUP=SHARE: the largest share of the exposure, for example of what may do harm."),
    ] = None,
    window_hours: WindowHours = 24.0,
    work: Work = None,
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Write what is due to each group, and most shares, for `python -m training.ranking --constraints FILE`.

    Exit code: as `report`.
    """
    # Imported here: as above.
    from training.evaluation.fairness_log import due_of
    from training.ranking.constraints import Constraints

    log = _read(context, by, lists, window_hours, work, registry, data_dir, tenant, quiet=as_json)
    try:
        bounds = {name.casefold(): float(share) for name, _, share in (one.rpartition("=") for one in most or ())}
        due = {name: share for name, share in due_of(log).items() if name not in bounds}
        made = Constraints(log.groups, due, bounds)
        out_file.write_text(json.dumps(vars(made), ensure_ascii=False) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise failed(str(error), "Mend --most, for example --most acme=0.05, or name another file.", 2) from None
    if as_json:
        print(json.dumps(vars(made), ensure_ascii=False))
    else:
        out.print(f"{len(due):,} groups with what is due, {len(bounds)} with a maximum, in {escape(str(out_file))}")


def _read(
    context: typer.Context, by: str, lists: str, window_hours: float, work: Path | None, registry: Path | None,
    data_dir: Path | None, tenant: str, quiet: bool,
) -> GroupedLog:  # fmt: skip
    from training.evaluation.fairness_log import Asked, read_grouped
    from training.suite.progress import Progress

    try:
        (kept,) = registries(registry, data_dir, tenant, RANKING)
        version = kept.registry.rollout().current
        asked = Asked(by, lists, window_hours * 3_600, kept.registry.path(version) if version else None)
        suite, place = suite_and_folder(context, registry, data_dir, tenant, work)
        with Progress(err, quiet=quiet).shown() as bar:
            return read_grouped(suite, place, asked, bar)
    except grpc.RpcError as error:
        raise failed(explain_error(error), CONTINUE_HINT) from None
    except (ValueError, InvalidArgument) as error:
        raise failed(str(error), exit_code=2) from None


def _write(file: Path, exposure: dict[str, Any]) -> None:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        changed = {**content, "exposure": exposure}
        ServingConfiguration.model_validate(changed)
        file.write_text(yaml.safe_dump(changed, allow_unicode=True, sort_keys=False), encoding="utf-8")
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise failed(f"{file} is no serving configuration: {error}", "See docs/how-to/placements.md.", 2) from None
