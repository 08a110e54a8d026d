"""What a domain says about its queries."""

from __future__ import annotations

from dataclasses import dataclass

from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.conditions import Conditions
from services.query_encoder.domain.understanding_rules import IntentRules


@dataclass(frozen=True)
class QueryDomain:
    """The concepts, stop words, conditions and rules that queries are read with."""

    graph: ConceptGraph
    stop_words: frozenset[str]
    conditions: Conditions
    rules: IntentRules
