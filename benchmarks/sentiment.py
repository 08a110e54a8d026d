"""Macro F1 of the sentiment of utterances and reviews, beside VADER alone and the most frequent sentiment.

    python -m benchmarks.sentiment benchmarks/data/sentiment.csv --out sentiment.json

The data have columns text, language ("en", "zh"), kind and sentiment ("positive", "neutral", "negative"). Nothing was
tuned on them. Intervals: 2,000 bootstrap samples of texts, 95 %.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from services.common.sentiment import CLEAR, sentiment_of

LABELS = ("positive", "neutral", "negative")
SAMPLES = 2_000


def label_of(value: float) -> str:
    return "positive" if value > CLEAR else "negative" if value < -CLEAR else "neutral"


def macro_f1(truth: np.ndarray, found: np.ndarray) -> float:
    scores = []
    for label in range(len(LABELS)):
        hits = np.sum((truth == label) & (found == label))
        total = np.sum(truth == label) + np.sum(found == label)
        if total:
            scores.append(2 * hits / total)
    return float(np.mean(scores))


def figures(rows: Sequence[dict[str, str]], judge: Callable[[str], str], seed: int) -> dict[str, Any]:
    truth = np.array([LABELS.index(row["sentiment"]) for row in rows])
    found = np.array([LABELS.index(judge(row["text"])) for row in rows])
    random = np.random.default_rng(seed)
    samples = [
        macro_f1(truth[at], found[at]) for at in (random.integers(0, len(rows), len(rows)) for _ in range(SAMPLES))
    ]
    low, high = np.quantile(samples, [0.025, 0.975])
    wrong = [
        {"text": row["text"], "is": row["sentiment"], "found": LABELS[label]}
        for row, label in zip(rows, found, strict=True)
        if LABELS[label] != row["sentiment"]
    ]
    return {
        "texts": len(rows), "macro_f1": macro_f1(truth, found), "interval": [float(low), float(high)], "wrong": wrong,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("sentiment.json"))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with asked.data.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    vader = SentimentIntensityAnalyzer()
    judges: dict[str, Callable[[str], str]] = {
        "most frequent": lambda _: max(LABELS, key=[row["sentiment"] for row in rows].count),
        "VADER alone": lambda text: label_of(vader.polarity_scores(text)["compound"]),
        "Kairos": lambda text: label_of(sentiment_of(text)),
    }
    slices = {"all": rows}
    for column in ("language", "kind"):
        for value in sorted({row[column] for row in rows}):
            slices[value] = [row for row in rows if row[column] == value]
    table = Table("texts", "count", *judges, box=None)
    results: dict[str, dict[str, Any]] = {}
    for name, chosen in slices.items():
        results[name] = {judge: figures(chosen, by, asked.seed) for judge, by in judges.items()}
        cells = [
            f"{one['macro_f1']:.3f} ({one['interval'][0]:.3f}-{one['interval'][1]:.3f})"
            for one in results[name].values()
        ]
        table.add_row(name, str(len(chosen)), *cells)
    Console().print(table)
    asked.out.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
