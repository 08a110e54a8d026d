"""`kairos search` says in a sentence that nothing matches well."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli.render import print_match
from kairos.gateway.v1 import gateway_pb2

NO_MATCH = gateway_pb2.NoGoodMatch(text="No product matches “sofa” well.")


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (
            gateway_pb2.SearchResponse(no_good_match=NO_MATCH, missing_words=["sofa"]),
            "No product matches “sofa” well.\n",
        ),
        (gateway_pb2.SearchResponse(missing_words=["x7000", "[b]"]), "no product has: x7000, [b]\n"),
        (gateway_pb2.SearchResponse(), ""),
    ],
)
def test_print_match(answer: gateway_pb2.SearchResponse, printed: str) -> None:
    """The sentence; otherwise the words that no product has; for a good match of all words nothing."""
    text = io.StringIO()
    print_match(Console(file=text, width=200), answer)
    assert text.getvalue() == printed
