"""What the handlers report of their state is what their applications export."""

from __future__ import annotations

from pathlib import Path

from kairos.encoder.v1 import encoder_pb2
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


async def test_pricing_reports_its_audit_log(tmp_path: Path) -> None:
    """Quotes and bytes, online and archived."""
    handler = build_pricing(PricingSettings(data_dir=tmp_path))
    found = handler.measures()
    handler.close()
    assert found.keys() == of_pricing.MEASURES.keys()
    assert found["kairos_pricing_audit_bytes"] > 0


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
