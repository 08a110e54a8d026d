"""Moderation: precision and recall on judged titles, false alarms on real catalogues, the cost of an import, and what
false reviews achieve.

    python -m benchmarks.moderation --home-depot DIR --retrotech DIR --out moderation.json

`--titles` has the columns title, language, category (empty: innocent), looks_like and split. Rules are compared with a
logistic regression over words and groups of characters that is trained on the development half, and with both together:
the classifier is kept only if it is better on the held-out half. `kairos reviews export` writes such a file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union

from services.common.product import Product
from services.common.visibility import Outcome
from services.gateway.adapters.moderation_file import load_rules
from services.gateway.domain.moderation.moderator import Moderator
from services.gateway.domain.product_reviews import WrittenReview, summaries

DATA = Path(__file__).parent / "data"
_DAY_S = 86_400.0
_SAMPLES = 2_000


@dataclass(frozen=True)
class Title:
    text: str
    language: str
    is_harmful: bool
    split: str


def read_titles(path: Path) -> list[Title]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [Title(row["title"], row["language"], bool(row["category"]), row["split"]) for row in rows]


def found_by(moderator: Moderator, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    found = [moderator.of_product(Product("p", text)) for text in texts]
    return np.array([one.worst is not Outcome.PASS or one.adults_only for one in found])


def trained(titles: Sequence[Title]) -> Pipeline:
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    words = TfidfVectorizer(token_pattern=r"[a-z0-9]+|[\u4e00-\u9fff]", ngram_range=(1, 2))
    model = make_pipeline(make_union(characters, words), LogisticRegression(C=10, max_iter=1_000))
    return model.fit([title.text for title in titles], [title.is_harmful for title in titles])


def quality(titles: Sequence[Title], found: npt.NDArray[np.bool_], seed: int) -> dict[str, Any]:
    """Precision and recall with intervals of 95 % by resampling titles."""
    true, rng = np.array([title.is_harmful for title in titles]), np.random.default_rng(seed)
    drawn = rng.integers(0, len(titles), (_SAMPLES, len(titles)))
    both, figures = true & found, {}
    for name, of in (("precision", found), ("recall", true)):
        value = both.sum() / max(1, of.sum())
        samples = both[drawn].sum(1) / np.maximum(1, of[drawn].sum(1))
        low, high = np.quantile(samples, [0.025, 0.975])
        figures[name] = {"value": float(value), "interval": [float(low), float(high)]}
    return {"titles": len(titles), "harmful": int(true.sum()), **figures}


def judged(moderator: Moderator, titles: Sequence[Title], model: Pipeline, seed: int) -> dict[str, dict[str, Any]]:
    slices: dict[str, list[Title]] = {}
    for title in titles:
        slices.setdefault(title.split, []).append(title)
        slices.setdefault(f"{title.split}, {title.language}", []).append(title)
    results = {}
    for name, chosen in sorted(slices.items()):
        texts = [title.text for title in chosen]
        rules = found_by(moderator, texts)
        classifier = model.predict(texts).astype(bool)
        results[name] = {
            "rules": quality(chosen, rules, seed), "classifier": quality(chosen, classifier, seed),
            "both": quality(chosen, rules | classifier, seed),
        }  # fmt: skip
    return results


def false_alarms(moderator: Moderator, path: Path, title: str, description: str, model: Pipeline) -> dict[str, object]:
    """Of a catalogue that sells nothing harmful, as far as is known; and the time of a product."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    products = [Product("p", row[title] or "-", description=(row.get(description) or "")[:20_000]) for row in rows]
    began = time.process_time()
    found = [moderator.of_product(product) for product in products]
    each_ms = (time.process_time() - began) / len(products) * 1e3
    flagged = [one for one in found if one.worst is not Outcome.PASS or one.adults_only]
    sample = random.Random(0).sample(products, min(5_000, len(products)))
    learned = model.predict([product.title for product in sample]).mean()
    return {
        "products": len(products), "flagged": len(flagged), "share": len(flagged) / len(products),
        "blocked": sum(one.outcome is Outcome.BLOCK for one in flagged), "ms_each": each_ms,
        "share_of_classifier": float(learned),
    }  # fmt: skip


def fake_reviews(
    product_id: str,
    count: int,
    rating: int = 5,
    day: float = 100.0,
    spread_days: float = 1.0,
    texts: int = 1,
    seed: int = 0,
) -> list[WrittenReview]:
    """An attack for the benchmark of adversaries: `count` visitors made for it, who write within `spread_days` with
    `texts` different texts.
    """  # fmt: skip
    rng = random.Random(seed)
    return [
        WrittenReview(
            f"fake-{seed}-{n}", product_id, f"v:fake-{seed}-{n}", rating,
            f"Best purchase of my life, everybody should buy this one, number {n % texts}",
            (day + rng.random() * spread_days) * _DAY_S,
        )
        for n in range(count)
    ]  # fmt: skip


def gain_of_attack(count: int, spread_days: float, texts: int, seeds: int = 20) -> dict[str, float]:
    """How far an attack moves the plain mean and the rating of a product of 3 stars with 40 honest reviews."""
    moved: list[tuple[float, float]] = []
    for seed in range(seeds):
        rng = random.Random(seed)
        honest = [
            WrittenReview(f"r{n}-{p}", f"p{p}", f"v:{n}", rng.choice((2, 3, 3, 4) if p == 0 else (3, 4, 4, 5)), "",
                          rng.random() * 200 * _DAY_S)
            for p in range(20) for n in range(40)
        ]  # fmt: skip
        # Half of the honest ones have bought; no false one has.
        bought = {(review.person, review.product_id) for review in honest if rng.random() < 0.5}
        attack = fake_reviews("p0", count, spread_days=spread_days, texts=texts, seed=seed)
        before, after = summaries(honest, bought)["p0"], summaries([*honest, *attack], bought)["p0"]
        moved.append((after.mean - before.mean, after.rating - before.rating))
    return {
        "plain_mean": float(np.mean([one for one, _ in moved])),
        "rating": float(np.mean([two for _, two in moved])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=Path, default=DATA / "moderation_titles.csv")
    parser.add_argument("--rules", type=Path, help="a shop's own rules")
    parser.add_argument("--home-depot", type=Path)
    parser.add_argument("--retrotech", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    console, moderator = Console(), Moderator(load_rules(asked.rules))
    titles = read_titles(asked.titles)
    own = [title for title in titles if title.split == "development"]
    # A file without a development half is judged by a classifier that has not seen it.
    model = trained(own or [one for one in read_titles(DATA / "moderation_titles.csv") if one.split == "development"])
    of_titles = judged(moderator, titles, model, asked.seed)
    results: dict[str, object] = {"titles": of_titles}
    table = Table("titles", "judge", "count", "precision", "recall")
    for name, judges in of_titles.items():
        for judge, one in judges.items():
            cells = [_with_interval(one[figure]) for figure in ("precision", "recall")]
            table.add_row(name, judge, str(one["titles"]), *cells)
    console.print(table)
    for name, folder, title in (
        ("home depot", asked.home_depot, "product_title"),
        ("retrotech", asked.retrotech, "name"),
    ):
        if folder:
            found = false_alarms(moderator, folder / "products.csv.gz", title, "long_description", model)
            results[name] = found
            console.print(name, found)
    attacks = {
        f"{count} in {spread:g} days, {texts} texts": gain_of_attack(count, spread, texts)
        for count, spread, texts in ((50, 1, 1), (50, 1, 50), (50, 50, 50), (200, 100, 200))
    }
    results["fake reviews"] = attacks
    console.print(attacks)
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=2), "utf-8")


def _with_interval(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
