"""What the handlers of ranker and pricing report of their state is what their applications export."""

from __future__ import annotations

from pathlib import Path

from services.pricing import metrics as of_pricing
from services.pricing.settings import PricingSettings
from services.pricing.wiring import build_handler as build_pricing
from services.ranker import metrics as of_ranker
from services.ranker.settings import RankerSettings, RetentionSettings
from services.ranker.wiring import build_handler as build_ranker
from tests.fakes.waiting import until


async def test_the_ranker_reports_its_state(tmp_path: Path) -> None:
    """Dropped rankings, upkeep, and how full the disk is."""
    handler = build_ranker(RankerSettings(data_dir=tmp_path, retention=RetentionSettings(interval_s=0.01)))
    await until(lambda: len(handler.measures()) == len(of_ranker.MEASURES))
    found = handler.measures()
    handler.close()
    assert found.keys() == of_ranker.MEASURES.keys()
    assert 0 < found["kairos_ranker_store_used_bytes"] < found["kairos_ranker_store_limit_bytes"]
    assert found["kairos_ranker_upkeep_failures"] == 0


async def test_pricing_reports_its_audit_log(tmp_path: Path) -> None:
    """Quotes and bytes, online and archived."""
    handler = build_pricing(PricingSettings(data_dir=tmp_path))
    found = handler.measures()
    handler.close()
    assert found.keys() == of_pricing.MEASURES.keys()
    assert found["kairos_pricing_audit_bytes"] > 0
