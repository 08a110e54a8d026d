"""The verdict of an A/B test or of an interleaving. That of a switchback is in experiments/switchback.py."""

from __future__ import annotations

from experiments.analysis import Analysis, analysed
from experiments.interleaving import analysed_interleaving
from experiments.table import LogTable
from services.common.experiment import Experiment


def verdict_of(table: LogTable, id: str, experiment: Experiment) -> Analysis:
    analyse = analysed_interleaving if experiment.is_interleaving else analysed
    return analyse(table, id, experiment)
