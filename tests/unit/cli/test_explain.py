"""`kairos explain`, with output for scripts and for persons."""

from __future__ import annotations

import json

from google.protobuf.json_format import ParseDict

from kairos.gateway.v1 import gateway_pb2
from tests.unit.cli.test_command import kairos
from tests.unit.conftest import FakeGateway


def test_for_a_person(gateway: FakeGateway) -> None:
    """The output has the explanation, scores by stage, contributions by group, influential events, concept edges and
    rules.
    """
    result = kairos(gateway, "explain", "1", "--query", "trainers", "--user", "u")
    assert result.exit_code == 0
    for part in (
        "Boot [/b]", "Position 3 of 9.", "retrieval: position 9, score 0.800", "ranker 1.500", "recent history",
        "+1.500",
        "availability", "-0.250", "baseline", "cart of [/x]", "raises the score, 60% of the history's influence",
        "“trainers” → shoe → “running shoes”", "rules: brand cap (Acme, 2)",
    ):  # fmt: skip
        # White space is ignored: it depends on the width of the terminal.
        assert part in " ".join(result.stdout.split())
    asked = gateway.explained[-1].search
    assert (asked.query, asked.user_id) == ("trainers", "u")


def test_without_a_query_it_is_a_recommendation(gateway: FakeGateway) -> None:
    """Without a query the user's recommendation is explained; a product that is not among the results has no groups."""
    result = kairos(gateway, "explain", "2", "--user", "u", "--brand", "Acme")
    assert gateway.explained[-1].recommend.user_id == "u"
    assert list(gateway.explained[-1].recommend.filter.brands) == ["Acme"]
    assert "Not in the answer." in result.stdout
    assert "baseline" not in result.stdout


def test_as_json(gateway: FakeGateway) -> None:
    """With --json the output is the response and nothing else."""
    result = kairos(gateway, "explain", "1", "--query", "x", "--json")
    assert ParseDict(json.loads(result.stdout), gateway_pb2.ExplainItemResponse()).result.position == 3
