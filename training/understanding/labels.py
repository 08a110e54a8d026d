"""Labels given by people: a CSV with the columns query, head, label, as `kairos label suggest` writes it.

head is intent, category, sentiment or tags. The label of a category is the path of a leaf or of a category above it, or
"none"; the label of a tag is name=value. Rows without a label are skipped.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from services.common.product import CATEGORY_SEPARATOR
from services.query_encoder.domain.text import normal_form
from services.query_encoder.domain.understanding_network import CATEGORY, HEADS, INTENT, SENTIMENT, TAGS
from services.query_encoder.domain.understanding_rules import INTENTS, SENTIMENTS
from training.understanding.queries import Example

NONE = "none"


def read_labels(path: Path, categories: Sequence[str], weight: float) -> list[Example]:
    """One example a query. Raises ValueError that names the line and the allowed values."""
    by_query: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"query", "head", "label"} - set(reader.fieldnames or ()):
            raise ValueError(f"{path} has no column {sorted(missing)[0]!r}; it needs query, head and label")
        for row in reader:
            query, head, label = normal_form(row["query"]), row["head"].strip(), row["label"].strip()
            if query and label:
                _check(f"{path}, line {reader.line_num}", head, label, categories)
                by_query[query].append((head, label))
    return [example_of(query, labels, categories, weight) for query, labels in by_query.items()]


def example_of(query: str, labels: Sequence[tuple[str, str]], categories: Sequence[str], weight: float) -> Example:
    """`labels`: (head, label) of one query; the last label of a head counts."""
    by_head = dict(labels)
    category = by_head.get(CATEGORY)
    return Example(
        query,
        by_head.get(INTENT),
        None if category is None else tuple(below(category, categories)),
        by_head.get(SENTIMENT),
        tuple((name, value) for head, label in labels if head == TAGS for name, _, value in [label.partition("=")]),
        weight=weight,
    )


def below(category: str, categories: Sequence[str]) -> list[str]:
    """The trained categories at or below `category`; empty for "none"."""
    return [path for path in categories if path == category or path.startswith(category + CATEGORY_SEPARATOR)]


def _check(where: str, head: str, label: str, categories: Sequence[str]) -> None:
    allowed = {INTENT: INTENTS, SENTIMENT: SENTIMENTS}.get(head)
    if head not in HEADS:
        raise ValueError(f"{where}: head {head!r} is none of {', '.join(HEADS)}")
    if allowed and label not in allowed:
        raise ValueError(f"{where}: {head} {label!r} is none of {', '.join(allowed)}")
    if head == CATEGORY and label != NONE and not below(label, categories):
        raise ValueError(f"{where}: the catalogue has no category {label!r}; write its whole path, or none")
    if head == TAGS and "=" not in label:
        raise ValueError(f"{where}: tag {label!r}: write name=value, for example audience=women")
