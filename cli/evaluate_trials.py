"""`kairos evaluate slices` and `uplift`: what an arm of an experiment changes, for whom."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import err, failed, out
from cli.evaluation_log import CONTINUE_HINT, LogFile, Work, suite_and_folder
from cli.options import DataDir, Json, Tenant
from ops.client import explain_error
from services.common.context import DEFAULT_TENANT
from services.common.errors import InvalidArgument

Experiment = Annotated[str, typer.Argument(help="Name of the experiment, as the log has it.")]
Treatment = Annotated[str, typer.Option(help="The arm whose effect is estimated.")]
Control = Annotated[str, typer.Option(help="The arm that it is compared with, for example the holdout.")]
Arms = Annotated[
    Path | None,
    typer.Option(
        help="CSV of user_id or visitor_id, arm, time: who got which arm when, for example a voucher.",
        show_default="the log of pages",
    ),
]
PersonsFile = Annotated[
    Path | None,
    typer.Option("--persons", help="CSV of user_id or visitor_id and further columns, for example device."),
]
WindowDays = Annotated[float, typer.Option(min=0, help="Days after the assignment in which purchases count.")]
OfPersons = Annotated[str, typer.Option(help="purchases (pieces of a person), buyers, or revenue.")]


def slices(
    context: typer.Context,
    experiment: Experiment,
    treatment: Treatment = "treatment",
    control: Control = "control",
    outcome: OfPersons = "purchases",
    window_days: WindowDays = 14.0,
    arms: Arms = None,
    persons: PersonsFile = None,
    log: LogFile = None,
    work: Work = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Print the effect of an arm on what persons buy, whole and in slices, the worst case first.

    Slices are the month, the category of what was bought, and the columns of --persons. With a holdout that sees
    popular products, the effect is what recommendations add. Needs a key with the role `write`.
    """
    people, values = _trial(
        context, experiment, treatment, control, outcome, window_days, arms, persons, log, work, data_dir, tenant,
        as_json,
    )  # fmt: skip
    # Imported here: they need libraries of the extra `learner`, which other commands do not.
    from training.evaluation.slices import LEAST_PERSONS, whole
    from training.evaluation.slices import slices as parts_of

    every = whole(people, values)
    parts = parts_of(people, values, with_categories=outcome == "purchases")
    if as_json:
        document = {
            "outcome": outcome,
            "whole": vars(every),
            "slices": [vars(each) for each in parts],
            "moved": people.moved,
        }
        return print(json.dumps(document, ensure_ascii=False))
    table = Table(
        "by", "", f"{control}", f"{treatment}", "persons", "difference", "95 %", "sure", box=None, pad_edge=False
    )
    for each in (every, *parts):
        table.add_row(
            each.by, escape(each.name), f"{each.control:.4f}", f"{each.treatment:.4f}",
            f"{each.control_persons + each.treated_persons:,}", f"{each.difference:+.4f}",
            f"{each.low:+.4f} to {each.high:+.4f}", "yes" if each.holds else "",
        )  # fmt: skip
    out.print(table)
    out.print(
        f"{outcome} of a person; slices with fewer than {LEAST_PERSONS} persons in an arm are left out; sure: with 95 "
        f"% for all slices together; {people.moved:,} persons were seen in two arms and count in the first",
        soft_wrap=True,
    )
    return None


def uplift(
    context: typer.Context,
    experiment: Experiment,
    treatment: Treatment = "treatment",
    control: Control = "control",
    outcome: OfPersons = "buyers",
    window_days: WindowDays = 14.0,
    arms: Arms = None,
    persons: PersonsFile = None,
    scores: Annotated[
        Path | None, typer.Option(help="Write CSV of person, arm, and the uplift by each learner to this file.")
    ] = None,
    log: LogFile = None,
    work: Work = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Estimate whom the treatment of an experiment moves, and whether that is better than chance.

    Learners see what was known of a person before the assignment. Their Qini says what they gain over treating persons
    at random. Prices stay per product: this is for vouchers and messages. Needs a key with the role `write`.
    """
    people, values = _trial(
        context, experiment, treatment, control, outcome, window_days, arms, persons, log, work, data_dir, tenant,
        as_json,
    )  # fmt: skip
    # Imported here: they need libraries of the extra `learner`, which other commands do not.
    from training.evaluation.qini import compared
    from training.evaluation.slices import whole
    from training.evaluation.uplift import BASELINE, LEARNERS, uplifts

    try:
        found = {name: uplifts(learner, people.features, people.treated, values) for name, learner in LEARNERS.items()}
    except ValueError as error:
        raise failed(str(error), exit_code=2) from None
    qini, every = compared(found, BASELINE, people.treated, values), whole(people, values)
    if scores is not None:
        with scores.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["person", "arm", *found])
            for row, key in enumerate(people.keys):
                arm = treatment if people.treated[row] else control
                writer.writerow([key, arm, *(f"{of[row]:.6g}" for of in found.values())])
    if as_json:
        of_learners = {name: vars(each) for name, each in qini.items()}
        return print(json.dumps({"outcome": outcome, "whole": vars(every), "qini": of_learners, "moved": people.moved}))
    out.print(
        f"{outcome}: {every.control:.4f} without, {every.treatment:.4f} with {treatment}; difference "
        f"{every.difference:+.4f} ({every.low:+.4f} to {every.high:+.4f}), "
        f"{every.control_persons + every.treated_persons:,} persons",
        soft_wrap=True,
    )
    table = Table("learner", "Qini", "95 %", f"- {BASELINE}", "95 %", box=None, pad_edge=False)
    for name, each in qini.items():
        difference, low, high = each.above_baseline
        beside = ("", "") if name == BASELINE else (f"{difference:+.5f}", f"{low:+.5f} to {high:+.5f}")
        table.add_row(name, f"{each.value:.5f}", f"{each.low:.5f} to {each.high:.5f}", *beside)
    out.print(table)
    best = max(qini, key=lambda name: qini[name].low)
    if qini[best].low > 0:
        out.print(f"{best} orders persons better than chance", soft_wrap=True)
    else:
        out.print("not distinguishable from chance: treat everybody, or nobody, or run it longer", soft_wrap=True)
    return None


def _trial(
    context: typer.Context, experiment: str, treatment: str, control: str, outcome: str, window_days: float,
    arms: Path | None, persons: Path | None, log: Path | None, work: Path | None, data_dir: Path | None, tenant: str,
    quiet: bool,
) -> Any:  # fmt: skip
    """(persons of both arms, [n] of the outcome)"""
    # Imported here: they need libraries of the extra `learner`, which other commands do not.
    from training.evaluation.trial import Trial, read_trial
    from training.suite.progress import Progress

    try:
        suite, place = suite_and_folder(context, None, data_dir, tenant, work)
        asked = Trial(experiment, control, treatment, outcome, window_days * 86_400, arms, persons, log)
        with Progress(err, quiet=quiet).shown() as bar:
            return read_trial(suite, place, asked, bar)
    except grpc.RpcError as error:
        raise failed(explain_error(error), CONTINUE_HINT) from None
    except (ValueError, InvalidArgument) as error:
        raise failed(str(error), exit_code=2) from None
