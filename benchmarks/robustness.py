"""Loss of search quality under changes of the query: a typo, word order, capitals, number, full-width letters.

    python -m benchmarks.robustness --products P.csv.gz --judgements J.csv.gz --out R.json [--sample N --seed S]

P and J as for benchmarks.search_quality. A sample of queries goes through the gateway's Search unchanged and with each
change; reported is the relative difference of NDCG@10, with a 95 % interval by the paired bootstrap. A query that a
change cannot alter (for example the word order of one word) counts unchanged.

`--state DIR` keeps the imported catalogue and reuses it, to compare two versions of the correction.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.search_quality import Figures, by_gateway, figures_of
from ops.in_process import in_process_suite
from training.search.data import Judgements, read_judgements
from training.search.train import import_products

# Accepted relative loss of NDCG@10 under each change.
GOAL = 0.05
CLEAN = "clean"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"[A-Za-z]{4,}")
Change = Callable[[str, random.Random], str]


def typo(query: str, rng: random.Random) -> str:
    """One edit (insert, delete, replace, swap) anywhere in one word of four or more letters."""
    found = list(_WORD.finditer(query))
    if not found:
        return query
    match = rng.choice(found)
    word = match.group()
    while (mistyped := _edit(word, rng)) == word:
        pass
    return query[: match.start()] + mistyped + query[match.end() :]


def _edit(word: str, rng: random.Random) -> str:
    at, letter = rng.randrange(len(word)), rng.choice(_LETTERS)
    kind = rng.choice(("insert", "delete", "replace", "swap"))
    if kind == "insert":
        return word[:at] + letter + word[at:]
    if kind == "delete":
        return word[:at] + word[at + 1 :]
    if kind == "replace":
        return word[:at] + letter + word[at + 1 :]
    at = min(at, len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def shuffled(query: str, rng: random.Random) -> str:
    """The words in another order."""
    words = query.split()
    rng.shuffle(words)
    return " ".join(words)


def upper(query: str, rng: random.Random) -> str:
    """In capitals."""
    return query.upper()


def other_number(query: str, rng: random.Random) -> str:
    """Swaps plural and singular of the last word of four or more letters."""
    found = list(_WORD.finditer(query))
    if not found:
        return query
    word = found[-1].group()
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        changed = word[:-1]
    else:
        changed = word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")
    return query[: found[-1].start()] + changed + query[found[-1].end() :]


def full_width(query: str, rng: random.Random) -> str:
    """Letters, digits and signs in the full-width forms of Chinese input methods."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else "　" if c == " " else c for c in query)


CHANGES: Mapping[str, Change] = {
    "one typo in one word": typo,
    "words shuffled": shuffled,
    "capitals": upper,
    "plural ⇄ singular": other_number,
    "full-width": full_width,
}


def sample_of(judgements: Judgements, size: int, seed: int) -> Judgements:
    """A random sample of `size` queries with a relevant product; 0: all."""
    fit = [query for query, judged in judgements.items() if max(judged.values()) > 1]
    chosen = random.Random(seed).sample(fit, min(size, len(fit))) if size else fit
    return {query: judgements[query] for query in chosen}


def relative_interval(changed: Figures, clean: Figures, seed: int) -> tuple[float, float]:
    """95 % interval of changed / clean − 1, by the paired bootstrap over queries."""
    draws = np.random.default_rng(seed).integers(0, len(clean.ndcg), (2_000, len(clean.ndcg)))
    relative = changed.ndcg[draws].mean(1) / clean.ndcg[draws].mean(1) - 1
    low, high = np.percentile(relative, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def measure(
    products: Path, mapping: str, judgements: Judgements, folder: Path, seed: int
) -> tuple[dict[str, Figures], dict[str, Sequence[str]]]:
    """Figures by change, in the order of the judgements, and the changed queries."""
    queries = list(judgements)
    changed: dict[str, Sequence[str]] = {CLEAN: queries}
    for name, change in CHANGES.items():
        rng = random.Random(seed)
        changed[name] = [change(query, rng) for query in queries]
    with in_process_suite(folder) as suite:
        if not (folder / "imported").exists():
            import_products(suite, products, mapping, folder)
            (folder / "imported").touch()
        figures = {}
        for name, texts in changed.items():
            found = by_gateway(suite, list(dict.fromkeys(texts)), name)
            figures[name] = figures_of(
                judgements, {query: found[text] for query, text in zip(queries, texts, strict=True)}
            )
    return figures, changed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--judgements", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--map", default="id=product_uid,title=product_title", help="as for `kairos catalog import`")
    parser.add_argument("--sample", type=int, default=1_500, help="queries; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample, the changes and the bootstrap")
    parser.add_argument("--state", type=Path, help="folder that keeps the imported catalogue")
    arguments = parser.parse_args()
    judgements = sample_of(read_judgements(arguments.judgements), arguments.sample, arguments.seed)
    if not judgements:
        parser.error(f"{arguments.judgements} has no query with a relevant product")
    with ExitStack() as stack:
        folder = arguments.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kairos-robustness-")))
        folder.mkdir(parents=True, exist_ok=True)
        figures, changed = measure(arguments.products, arguments.map, judgements, folder, arguments.seed)
    clean, rows = figures[CLEAN], {}
    table = Table(title=f"{len(judgements):,} queries, whole catalogue")
    for heading in ("", "queries changed", "NDCG@10", "relative", "95 %"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in figures.items():
        ndcg = found.means()["ndcg@10"]
        relative = round(ndcg / clean.means()["ndcg@10"] - 1, 4)
        low, high = relative_interval(found, clean, arguments.seed)
        touched = sum(text != query for text, query in zip(changed[name], judgements, strict=True))
        rows[name] = {"ndcg@10": ndcg, "relative": relative, "interval_95": [low, high], "changed": touched}
        table.add_row(name, f"{touched:,}", f"{ndcg:.4f}", f"{relative:+.1%}", f"{low:+.1%} to {high:+.1%}")
    Console().print(table)
    print(f"Goal: each falls by less than {GOAL:.0%}.")
    report = {"queries": len(judgements), "seed": arguments.seed, "goal": GOAL, "figures": rows}
    arguments.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
