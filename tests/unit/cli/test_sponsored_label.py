"""How the commands print the label of a sponsored result."""

from __future__ import annotations

from cli.render import sponsored_text
from kairos.gateway.v1 import gateway_pb2
from kairos.sponsored.v1 import sponsored_pb2


def test_a_label_says_who_pays_and_why() -> None:
    """Advertiser, payer and each of the main parameters, in words."""
    kinds = {
        "RELEVANCE": "", "QUERY": "coat", "CATEGORY": "Coats", "PLACEMENT": "home", "AUDIENCE": "style: classic",
    }  # fmt: skip
    label = gateway_pb2.SponsoredLabel(advertiser="Acme", payer="Acme Inc.")
    for kind, value in kinds.items():
        label.targeting.add(kind=sponsored_pb2.TargetingKind.Value(f"TARGETING_KIND_{kind}"), value=value)
    assert sponsored_text(label) == (
        "Sponsored · Acme · paid by Acme Inc. · because it fits the request, and of the query “coat”, "
        "and of the category “Coats”, and of the placement “home”, and you have declared “style: classic”"
    )
