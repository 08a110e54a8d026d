"""The log that `kairos evaluate` reads, and the options that say which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.calls import connection_of
from ops.settings import SuiteSettings
from services.common.settings import load_settings

CONTINUE_HINT = "what was read is kept; run the same command again to continue"

LogFile = Annotated[
    Path | None,
    typer.Option("--log", help="File that `kairos evaluate export` has written.", show_default="the gateway's log"),
]
Outcome = Annotated[str, typer.Option(help="What counts: click, cart or purchase.")]
WindowHours = Annotated[float, typer.Option(min=0, help="Hours after a page in which an event is an outcome of it.")]
Work = Annotated[Path | None, typer.Option(help="Folder for what is read.", show_default="evaluate in the data folder")]


def suite_and_folder(
    context: typer.Context, registry: Path | None, data_dir: Path | None, tenant: str, work: Path | None
) -> Any:
    """(suite, work folder)"""
    from services.ranker.settings import RankerSettings
    from training.suite.run import Suite
    from training.suite.work import WorkFolder

    state = load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}).data_dir
    ranker = load_settings(RankerSettings)
    suite = Suite(
        connection_of(context), registry or state / "ranker" / "models", tenant, ranker.serving_weights,
        ranker.registry_url,
    )  # fmt: skip
    return suite, WorkFolder(work or state / "evaluate" / tenant)
