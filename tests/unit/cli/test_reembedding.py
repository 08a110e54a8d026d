"""`kairos catalog reembed`: what prevents a switch, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import Unavailable
from services.common.rpc import set_status

OLD, NEW = "m@1", "m@2"


@dataclass
class FakeGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """A gateway with 300 products. `missing`: number of missing products of each pass. `busy`: calls that are refused
    first.
    """

    recall: float = 1.0
    new_without_vector: int = 0
    missing: list[int] = field(default_factory=lambda: [200, 0])
    busy: int = 0
    live: str = OLD
    target: str = ""

    def DescribeCollections(
        self, message: gateway_pb2.DescribeCollectionsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.DescribeCollectionsResponse:
        old = retrieval_pb2.Collection(model_version=OLD, dimensions=3, product_count=300)
        new = retrieval_pb2.Collection(
            model_version=NEW, dimensions=2, product_count=300, without_vector_count=self.new_without_vector
        )
        live, staged = (old, new) if self.live == OLD else (new, old)
        return gateway_pb2.DescribeCollectionsResponse(live=live, staged=staged, staged_is_previous=self.live == NEW)

    def BeginReembedding(
        self, message: gateway_pb2.BeginReembeddingRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.BeginReembeddingResponse:
        return gateway_pb2.BeginReembeddingResponse()

    def ReembedProducts(
        self, message: gateway_pb2.ReembedProductsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ReembedProductsResponse:
        if self.busy:
            self.busy -= 1
            set_status(context, Unavailable("query_encoder: busy; try again"))
            return gateway_pb2.ReembedProductsResponse()
        if message.page_token:
            return gateway_pb2.ReembedProductsResponse(compared_count=100)
        missing = self.missing.pop(0) if len(self.missing) > 1 else self.missing[0]
        return gateway_pb2.ReembedProductsResponse(
            compared_count=200, missing_count=missing, stored_count=missing, next_page_token="200"
        )

    def CheckEmbeddings(
        self, message: gateway_pb2.CheckEmbeddingsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.CheckEmbeddingsResponse:
        figures = retrieval_pb2.CheckEmbeddingsResponse(sampled_count=50, recall=self.recall, overlap=0.4)
        return gateway_pb2.CheckEmbeddingsResponse(figures=figures)

    def SwitchCollections(
        self, message: gateway_pb2.SwitchCollectionsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.SwitchCollectionsResponse:
        self.live = message.model_version
        return gateway_pb2.SwitchCollectionsResponse()


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    # The stubs say that every method must be there; what nobody calls need not be.
    fake, server = FakeGateway(), grpc.server(ThreadPoolExecutor(2))  # type: ignore[abstract]
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(fake, server)
    fake.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield fake
    server.stop(None)


def reembed(gateway: FakeGateway, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--target", gateway.target, "catalog", "reembed", *arguments])


def test_a_switch(gateway: FakeGateway) -> None:
    """Without problems it switches, and prints the collections and the results of the check."""
    result = reembed(gateway, "--model-version", NEW)
    assert (result.exit_code, gateway.live) == (0, NEW)
    assert "100%" in result.output
    assert "40%" in result.output


def test_a_dry_run(gateway: FakeGateway) -> None:
    """A dry run does everything except the switch."""
    result = reembed(gateway, "--model-version", NEW, "--dry-run")
    assert (result.exit_code, gateway.live, gateway.missing) == (0, OLD, [0])


@pytest.mark.parametrize(("damage", "said"), [({"recall": 0.5}, "50%"), ({"new_without_vector": 30}, "10%")])
def test_a_bad_figure_stops_the_switch(gateway: FakeGateway, damage: dict[str, float], said: str) -> None:
    """With a low recall, or with products that lose their vector, it switches only by force."""
    vars(gateway).update(damage)
    refused = reembed(gateway, "--model-version", NEW)
    assert (refused.exit_code, gateway.live) == (1, OLD)
    assert said in refused.output
    assert (reembed(gateway, "--model-version", NEW, "--force").exit_code, gateway.live) == (0, NEW)


def test_products_that_are_always_missing(gateway: FakeGateway) -> None:
    """If every pass finds missing products, it stops and prints the remedy, also with force."""
    gateway.missing = [5]
    result = reembed(gateway, "--model-version", NEW, "--force")
    assert (result.exit_code, gateway.live) == (2, OLD)
    assert "serve both models" in result.output


def test_a_busy_stage(gateway: FakeGateway) -> None:
    """A stage that is busy for a short time does not end the change."""
    gateway.busy = 2
    assert reembed(gateway, "--model-version", NEW).exit_code == 0
    assert gateway.live == NEW


def test_a_model_that_is_live(gateway: FakeGateway) -> None:
    """If the model is live already, nothing is embedded."""
    gateway.live = NEW
    result = reembed(gateway, "--model-version", NEW)
    assert (result.exit_code, gateway.live, gateway.missing) == (0, NEW, [200, 0])


def test_rollback(gateway: FakeGateway) -> None:
    """`--rollback` embeds the products that were imported after the switch, and switches back."""
    gateway.live = NEW
    assert reembed(gateway, "--rollback").exit_code == 0
    assert (gateway.live, gateway.missing) == (OLD, [0])
