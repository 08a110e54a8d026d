"""What the handlers report of their state is what their applications export."""

from __future__ import annotations

from pathlib import Path

from kairos.common.v1 import common_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.pricing.v1 import pricing_pb2
from services.pricing import metrics as of_pricing
from services.pricing.settings import PricingSettings
from services.pricing.wiring import build_handler as build_pricing
from services.query_encoder import metrics as of_query_encoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_handler as build_query_encoder
from services.ranker import metrics as of_ranker
from services.ranker.settings import RankerSettings, RetentionSettings
from services.ranker.wiring import build_handler as build_ranker
from services.retrieval import metrics as of_retrieval
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import build_handler as build_retrieval
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


async def test_pricing_reports_its_outbox(tmp_path: Path) -> None:
    """Quotes and bytes that wait, how full it is and for how long the oldest waits, and that control is away."""
    settings = {"outbox": {"most_entries": 10, "interval_s": 0.01}, "control": {"target": "127.0.0.1:1"}}
    handler = build_pricing(PricingSettings.model_validate({"data_dir": tmp_path, **settings}))
    asked = pricing_pb2.PricedItem(item_id="a", list_price=common_pb2.Money(currency_code="USD", units=1))
    await handler.QuotePrices(pricing_pb2.QuotePricesRequest(items=[asked]), NoContext())
    await until(lambda: handler.measures()["kairos_pricing_outbox_delivery_failures"] > 0)
    found = handler.measures()
    handler.close()
    assert found.keys() == of_pricing.MEASURES.keys()
    assert (found["kairos_pricing_outbox_entries"], found["kairos_pricing_outbox_fill_ratio"]) == (1, 0.1)
    assert found["kairos_pricing_outbox_bytes"] > 100
    assert 0 < found["kairos_pricing_outbox_oldest_age_seconds"] < 60
    assert found["kairos_pricing_outbox_delivered_entries"] == 0


async def test_the_query_encoder_reports_its_cache(tmp_path: Path) -> None:
    """A repeated query is a hit."""
    handler = build_query_encoder(QueryEncoderSettings(data_dir=tmp_path))
    for _ in range(3):
        await handler.EncodeQuery(encoder_pb2.EncodeQueryRequest(text="red shoes"), NoContext())
    found = handler.measures()
    handler.close()
    assert found.keys() == of_query_encoder.MEASURES.keys()
    assert (found["kairos_query_encoder_cache_hits"], found["kairos_query_encoder_cache_misses"]) == (2, 1)
    assert found["kairos_query_encoder_cache_bytes"] > 1_536 * found["kairos_query_encoder_cache_entries"] > 0


async def test_retrieval_reports_its_cache(tmp_path: Path) -> None:
    """All measures, which are 0 at first."""
    handler = build_retrieval(RetrievalSettings(data_dir=tmp_path))
    found = handler.measures()
    handler.close()
    assert found == dict.fromkeys(of_retrieval.MEASURES, 0)


class NoContext:
    def invocation_metadata(self) -> tuple[()]:
        return ()
