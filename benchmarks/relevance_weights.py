"""Fits the weights of relevance (services/retrieval/domain/relevance.py) on the results of `benchmarks.abstention`.

    python -m benchmarks.relevance_weights electronics.json demo.json homedepot.json

A logistic regression of own (1) and foreign (0) queries. Each shop has the same weight, and in it each kind. The table
has for each shop the shares below a relevance of 0.5: with weights from the other shops only, and from all.

The evidence is that of the candidate which the weights in use rank first. So a change of the features needs two rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from benchmarks.abstention import OWN
from services.retrieval.domain.relevance import BIAS, WEIGHTS

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shop:
    """`features` [queries, WEIGHTS]; `own` [queries]."""

    name: str
    features: FloatArray
    own: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, name: str, parts: dict[str, Any]) -> Shop:
        queries = list(parts["kinds"])
        evidence = [parts["answers"][query]["evidence"] for query in queries]
        features = np.array([[each[feature] for feature in WEIGHTS] for each in evidence])
        return cls(name, features, np.array([parts["kinds"][query] == OWN for query in queries]))

    def shares(self, weights: FloatArray, bias: float) -> tuple[float, float]:
        """(of own queries, of foreign queries) with a relevance below 0.5."""
        below = self.features @ weights + bias < 0
        return float(below[self.own].mean()), float(below[~self.own].mean())


def fitted(shops: Sequence[Shop]) -> tuple[FloatArray, float]:
    """(weights, bias)."""
    features = np.concatenate([shop.features for shop in shops])
    own = np.concatenate([shop.own for shop in shops])
    sample = np.concatenate([np.where(shop.own, 1 / shop.own.sum(), 1 / (~shop.own).sum()) for shop in shops])
    model = LogisticRegression(max_iter=2_000).fit(features, own, sample_weight=sample / sample.mean())
    return model.coef_[0], float(model.intercept_[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="of `benchmarks.abstention`, one for each shop")
    arguments = parser.parse_args()
    shops = [Shop.of(path.stem, json.loads(path.read_text())["parts"]) for path in arguments.results]
    if len(shops) < 2:
        parser.error("name the results of two shops or more: each is measured with the weights of the others")
    weights, bias = fitted(shops)
    used = np.array(list(WEIGHTS.values())), BIAS
    table = Table(title="share of no good match: own / foreign")
    for heading in ("shop", "weights of the others", "of all", "in use"):
        table.add_column(heading)
    for shop in shops:
        others = fitted([other for other in shops if other is not shop])
        cells = (shop.shares(*found) for found in (others, (weights, bias), used))
        table.add_row(shop.name, *("{:.3f} / {:.3f}".format(*cell) for cell in cells))
    Console().print(table)
    print({name: round(float(weight), 2) for name, weight in zip(WEIGHTS, weights, strict=True)}, round(bias, 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
