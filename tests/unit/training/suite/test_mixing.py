"""The weight of the session, chosen on sessions of the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from services.common.product import Product
from services.retrieval.settings import FusionSettings
from tests.unit.training.search_shop import COLOURS, tiny_bert
from training.search.catalogue import ModelChoice, SearchedCatalogue, TrainedSearch
from training.search.clicks import SearchedList
from training.suite.mixing import LEAST_SESSIONS, choose_mixing, sessions_of

# Few, as every search of a session shows the whole shop.
SHADES, OTHERS = COLOURS[:4], ("shoe", "chair", "mug")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the model, and of the catalogue that it has embedded."""
    return tmp_path_factory.mktemp("shop")


def sessions(count: int, keeps_colour: bool) -> list[SearchedList]:
    """A search for a lamp of one colour, and then for another thing, where one of that or another colour is clicked."""
    made = []
    for number in range(count):
        colour, thing = SHADES[number % 4], OTHERS[number // 4 % 3]
        later = colour if keeps_colour else SHADES[(number + 1 + number // 4 % 3) % 4]
        at_s = float(100 * number)
        made += [
            SearchedList(f"{colour} lamp", f"s{number}", at_s, [f"{colour}-lamp"], [1], [0]),
            SearchedList(thing, f"s{number}", at_s + 1, [f"{later}-{thing}"], [2], [1]),
        ]
    return made


@pytest.mark.parametrize("keeps_colour", [True, False])
def test_the_session_counts_if_it_helps(folder: Path, monkeypatch: pytest.MonkeyPatch, keeps_colour: bool) -> None:
    """Where shoppers stay with a colour, the session counts; where they do not, it does not."""
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_BACKEND", "torch")
    products = [Product(f"{shade}-{thing}", f"{shade} {thing}") for shade in SHADES for thing in ("lamp", *OTHERS)]
    catalogue = SearchedCatalogue(products, folder / "states")
    model = TrainedSearch(ModelChoice(tiny_bert(folder / "base"), "tiny@1"), FusionSettings())
    searches = sessions(LEAST_SESSIONS, keeps_colour)
    # A suite for each weight.
    found = choose_mixing(catalogue, model, sessions_of(searches, searches), betas=(0.0, 0.3))
    assert found.alpha == 1.0
    assert found.sessions == LEAST_SESSIONS
    assert (found.beta > 0) is keeps_colour, found
    assert list(found.ndcg) == [0.0, 0.3]


def test_which_sessions_count() -> None:
    """Those of two different queries with a click after the last, which must be one of the given searches."""
    searches = sessions(3, keeps_colour=True)
    one_query = SearchedList("lamp", "alone", 1.0, ["red-lamp"], [1], [1])
    no_click = [SearchedList(query, "idle", at, ["red-lamp"], [1], [0]) for at, query in enumerate(("lamp", "mug"))]
    found = sessions_of([*searches, one_query, *no_click], [searches[1], searches[5], one_query, *no_click])
    assert [[each.query for each in own] for own in found] == [["red lamp", "shoe"], ["green lamp", "shoe"]]
    few = choose_mixing(SearchedCatalogue([], Path()), TrainedSearch(ModelChoice(None, ""), FusionSettings()), found)
    assert (few.beta, few.sessions < LEAST_SESSIONS, dict(few.ndcg)) == (0.15, True, {})


def test_each_weight_is_measured_without_the_events_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded in one suite over the catalogue is unknown to the next one."""
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_BACKEND", "torch")
    catalogue = SearchedCatalogue([Product("a", "red lamp")], tmp_path / "states")
    model = TrainedSearch(ModelChoice(tiny_bert(tmp_path / "base"), "tiny@1"), FusionSettings())
    click = event_pb2.Event(event_id="1", visitor_id="v", item_id="a", type=event_pb2.EVENT_TYPE_CLICK)
    known = []
    for _ in range(2):
        with catalogue.served(model) as suite, Connection(suite.gateway_target).stub() as stub:
            log = gateway_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_EVENTS)
            known.append(len(stub.ReadLog(log, timeout=20).events))
            stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[click]), timeout=20)
            known.append(len(stub.ReadLog(log, timeout=20).events))
    assert known == [0, 1, 0, 1]
