"""The commands of the pages about moderation and product reviews: a gateway over fake stages, and a real control."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.reviews import Agreement, wilson
from kairos.control.v1 import control_pb2
from services.common.control_access import ControlAccessSettings
from tests.contract.controls import Client
from tests.contract.controls import running as running_control
from tests.contract.gateways import Running, running_gateway, stages
from tests.documentation import ROOT, blocks
from tests.fakes.stages import FakeStages

__all__ = ["stages"]  # a fixture

MODERATION, PRODUCT_REVIEWS = (ROOT / "docs" / "how-to" / name for name in ("moderation.md", "product-reviews.md"))
MARK = "tests/contract/test_moderation_commands.py runs it"


@dataclass
class Shop:
    """`kairos` runs in a thread of this process: a process of its own would take a second for each command."""

    gateway: Running
    control: Client
    folder: Path
    control_port: int

    def kairos(self, *arguments: str) -> str:
        options = ["--target", f"127.0.0.1:{self.gateway.gateway.port}", "--timeout", "20"]
        environment = {"COLUMNS": "300", "KAIROS_CONTROL_TARGET": f"127.0.0.1:{self.control_port}"}
        with chdir(self.folder):
            done = CliRunner().invoke(app, [*options, *arguments], env=environment)
        assert done.exit_code == 0, f"{arguments} ended with {done.exit_code}\n{done.output}"
        return done.output

    async def run(self, page: Path) -> dict[str, str]:
        """What each command of the page prints, by its first words."""
        said = {}
        for block in (block for block in blocks(page) if block.reason == MARK):
            rest = ""
            for line in block.text.splitlines(keepends=True):
                if not line.startswith("kairos "):
                    rest += line
                    continue
                command = ["bash", "-euo", "pipefail", "-c", rest]
                await asyncio.to_thread(subprocess.run, command, cwd=self.folder, check=True)
                rest, (_, *arguments) = "", shlex.split(line)
                said[" ".join(arguments[:3])] = await asyncio.to_thread(self.kairos, *arguments)
                if arguments[:2] == ["catalog", "import"]:
                    await self.asked(2)
        return said

    async def asked(self, count: int) -> None:
        """Until control has so many reviews: the gateway asks in the background."""
        request = control_pb2.ListResourcesRequest(kind=control_pb2.RESOURCE_KIND_REVIEW)
        async with asyncio.timeout(20):
            while len((await self.control.call("ListResources", request)).resources) < count:  # noqa: ASYNC110 - another server
                await asyncio.sleep(0.02)


@pytest.fixture
async def shop(stages: FakeStages, tmp_path: Path) -> AsyncIterator[Shop]:
    async with running_control(tmp_path / "control") as control:
        access = ControlAccessSettings(target=f"127.0.0.1:{control.port}", folder=tmp_path / "published")
        async with running_gateway(stages, control=access) as gateway:
            yield Shop(gateway, Client(control.port), tmp_path, control.port)


async def test_the_page_about_moderation(shop: Shop) -> None:
    """The rules say what the page says, the reviews wait under the ids of the page, and decisions are exported."""
    said = await shop.run(MODERATION)
    assert "block  weapons" in said["moderation check Glock 19 9mm pistol with magazine"]
    assert "pass" in said["moderation check Hot glue gun with 30 sticks"]
    assert "medical_claims" in said["moderation check Tonic"]
    assert "pass, block in de, review in at" in said["moderation check Firework rocket with golden sparks"]
    waiting = said["reviews list --subject"]
    assert "spray-1" in waiting
    assert "gun-1" in waiting
    assert "kettle" not in waiting
    assert "Bear pepper spray" in said["reviews show moderation-77eb3099dc9c26857c4ae46d"]
    assert "1 of 2 found rightly" in said["reviews report"]
    labelled = (shop.folder / "labelled.csv").read_text("utf-8").splitlines()
    assert len(labelled) == 3
    assert any(line.startswith("Glock 19 9mm pistol with magazine,en,weapons,weapons,") for line in labelled)
    assert any(line.startswith("Bear pepper spray 9 oz,en,,weapons,") for line in labelled)


async def test_the_page_about_product_reviews(shop: Shop, stages: FakeStages) -> None:
    """Three reviews count, without the address; the doubtful one counts once a person has approved it."""
    stages.ranker.keeps_events = True
    said = await shop.run(PRODUCT_REVIEWS)
    assert "1 wait for a person" in said["product-reviews import product-reviews.csv"]
    assert "3 reviews count; 2 products changed" in said["product-reviews summarize"]
    first, second = (stages.retrieval.stored[id][0].reviews for id in ("p1", "p2"))
    assert (first.count, first.mean, second.count, second.mean) == (2, 4.5, 1, 1.0)
    assert first.sentiment > 0 > second.sentiment
    assert first.rating > second.rating
    await shop.asked(1)
    (case,) = json.loads(await asyncio.to_thread(shop.kairos, "reviews", "list", "--json"))
    assert case["review"]["subject_id"] == "review:r4"
    await asyncio.to_thread(shop.kairos, "reviews", "approve", case["id"])
    await asyncio.to_thread(shop.kairos, "product-reviews", "summarize")
    assert (second.count, second.mean) == (2, 3.0)


def test_proposals() -> None:
    """A proposal needs enough decisions and certainty."""
    assert Agreement(0, 5).proposal(20) == "no proposal before 20 decisions"
    assert Agreement(0, 60).proposal(20).startswith("outcome: block")
    assert Agreement(30, 3).proposal(20).startswith("outcome: pass")
    assert Agreement(10, 10).proposal(20).startswith("outcome: review")
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
