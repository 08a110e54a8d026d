"""Audit of explanations on searches of the demo shop: agreement with SHAP and LIME, and faithfulness to the ranker.

    python -m benchmarks.explanation_audit --out R.json

Each shopper with a history searches for a category; the first ten positions are explained as RankItems explains them.

- Agreement: SHAP's KernelExplainer, captum's KernelSHAP, sampled Shapley values and LIME explain the same scores.
  Measured are the largest difference from the exact values and Spearman's rank correlation of an item's six values
  (mean over items).
- Faithfulness (`training.explanations.faithfulness`): the most important input is removed, and the ranker scores again;
  the score should change more than after the removal of a random input. For feature groups and for single interactions
  of the history, with a 95 % interval over searches. Beside them: interactions chosen by similarity alone, and the
  opposite explanation (the least important group called the most important one), which must fail.

Two rankers: the weighted sum, and a network. `--network FOLDER` takes one of `python -m training.ranking`; otherwise
one is trained here on simulated lists of the same shop.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.explanation_data import demo_requests, trained_network
from benchmarks.explanation_peers import PEERS, missing_libraries
from services.ranker.adapters.onnx_ranker import OnnxRanker
from services.ranker.domain.attention import attention
from services.ranker.domain.attribution import DoubleArray, masked_of, shapley
from services.ranker.domain.explanation import Explanation, explain
from services.ranker.domain.influential_events import influential_events
from services.ranker.domain.objective import Objective
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import GROUPS
from services.ranker.domain.scores import Ranker
from services.ranker.domain.weighted_sum import weighted_sum
from services.ranker.domain.weights import Weights
from services.ranker.settings import ObjectiveSettings, WeightSettings
from training.explanations.faithfulness import (
    OF_GROUPS,
    OF_INTERACTIONS,
    Explained,
    Removal,
    difference,
    largest_group,
)

TOP = 10


def explained_top(ranker: Ranker, requests: Sequence[RankingRequest]) -> list[Explained]:
    found = list[Explained]()
    for request in requests:
        scores = ranker(request)
        rows = np.argsort(-scores.total, kind="stable")[:TOP].tolist()
        found.append((request, explain(request, scores, rows)))
    return found


def opposite(explanation: Explanation) -> Explanation:
    """Calls the least important group the most important one."""
    largest = max(abs(value) for value in explanation.contributions.values())
    contributions = {group: largest - abs(value) for group, value in explanation.contributions.items()}
    return replace(explanation, contributions=contributions)


def by_similarity(request: RankingRequest, explanations: Mapping[int, Explanation]) -> dict[int, Explanation]:
    """Names the interactions with the largest attention weights of the weighted sum, for any ranker."""
    weights = attention(request.vectors, request.profile)
    return {
        row: replace(
            one, events=influential_events(request.vectors[row], weights[row], request.profile, request.user_history)
        )
        for row, one in explanations.items()
    }


def agreement(ranker: Ranker, explained: Sequence[Explained]) -> dict[str, dict[str, float]]:
    """By peer: the largest difference from the exact values, also as a share of the largest value; rank correlation."""
    exact, peers = list[DoubleArray](), {name: list[DoubleArray]() for name in PEERS}
    for request, explanations in explained:
        rows = list(explanations)
        masked = masked_of(request, ranker(request), rows)
        if masked is None:
            raise ValueError("the ranker gives neither parts nor masked scores")
        scorer = masked.score
        exact.append(shapley(scorer).contributions)
        for name, peer in PEERS.items():
            peers[name].append(peer(scorer, len(rows)))
    true = np.concatenate(exact)
    largest = float(np.abs(true).max())
    report = {}
    for name, values in peers.items():
        found = np.concatenate(values)
        worst = float(np.abs(found - true).max())
        # Rounded: differences below a ten-thousandth of the largest value are ties.
        ranked = (np.round(np.stack([true, found], axis=1) / largest, 4)).tolist()
        report[name] = {
            "largest_difference": worst,
            "of_largest_value": worst / largest,
            "rank_correlation": float(np.mean([spearmanr(ours, theirs).statistic for ours, theirs in ranked])),
        }
    return report


def faithfulness(ranker: Ranker, explained: Sequence[Explained], seed: int) -> dict[str, Any]:
    opposed = [(request, {row: opposite(one) for row, one in found.items()}) for request, found in explained]
    similar = [(request, by_similarity(request, found)) for request, found in explained]
    checks: dict[str, tuple[Removal, Sequence[Explained]]] = {
        "group": (OF_GROUPS, explained),
        "interaction": (OF_INTERACTIONS, explained),
        "interaction, by similarity": (OF_INTERACTIONS, similar),
        "group, opposite": (Removal(OF_GROUPS.options, largest_group, OF_GROUPS.without), opposed),
    }
    return {
        name: asdict(difference(removal, ranker, of, Random(f"{seed}/{name}")))
        for name, (removal, of) in checks.items()
    }


def audited(ranker: Ranker, requests: Sequence[RankingRequest], peers_on: int, seed: int) -> dict[str, Any]:
    explained = explained_top(ranker, requests)
    contributions = [[one.contributions[group] for group in GROUPS] for _, found in explained for one in found.values()]
    sizes = np.abs(np.array(contributions)).mean(axis=0)
    return {
        "mean_size_of_contribution": {group.value: float(size) for group, size in zip(GROUPS, sizes, strict=True)},
        "agreement": agreement(ranker, explained[:peers_on]),
        "faithfulness": faithfulness(ranker, explained, seed),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--size", type=int, default=1_500, help="products of the demo shop")
    parser.add_argument("--shoppers", type=int, default=60)
    parser.add_argument("--training-shoppers", type=int, default=200, help="whose lists train the network")
    parser.add_argument("--peers-on", type=int, default=10, help="searches that the peers explain: they are slow")
    parser.add_argument("--network", type=Path, help="a folder of `python -m training.ranking`")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    if missing := missing_libraries():
        parser.error(missing)
    weighted = partial(weighted_sum, weights=Weights(**WeightSettings().model_dump()))
    objective = Objective(**ObjectiveSettings().model_dump())
    with tempfile.TemporaryDirectory(prefix="kairos-audit-") as folder:
        requests = list(demo_requests(Path(folder) / "shop", arguments.size, arguments.shoppers, arguments.seed))
        path = arguments.network or trained_network(
            Path(folder) / "1", arguments.size, arguments.training_shoppers, arguments.seed
        )
        network = OnnxRanker(path, lambda: objective, weighted, weighted)
        if network.vector_version != requests[0].model_version:
            parser.error(f"{path} takes vectors of {network.vector_version}, the shop has {requests[0].model_version}")
        rankers: dict[str, Ranker] = {"weighted sum": weighted, "network": network}
        report: dict[str, Any] = {
            name: audited(ranker, requests, arguments.peers_on, arguments.seed) for name, ranker in rankers.items()
        }
    report |= {"searches": len(requests), "products": arguments.size, "seed": arguments.seed}
    for ranker in rankers:
        _print(ranker, report[ranker])
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _print(ranker: str, found: dict[str, Any]) -> None:
    console, table = Console(), Table(title=f"{ranker}: difference from the exact values")
    for heading in ("", "largest difference", "as a share of the largest value", "rank correlation"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, one in found["agreement"].items():
        table.add_row(
            name, f"{one['largest_difference']:.2g}", f"{one['of_largest_value']:.1%}", f"{one['rank_correlation']:.3f}"
        )
    console.print(table)
    table = Table(title=f"{ranker}: change of the score after a removal")
    for heading in ("removed", "most important", "random", "difference", "95 %", "searches"):
        table.add_column(heading, justify="left" if heading == "removed" else "right")
    for name, one in found["faithfulness"].items():
        table.add_row(
            name, f"{one['named']:.4f}", f"{one['drawn']:.4f}", f"{one['mean']:+.4f}",
            f"{one['low']:+.4f} to {one['high']:+.4f}", str(one["requests"]),
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
