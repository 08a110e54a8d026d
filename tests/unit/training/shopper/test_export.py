"""The exported version says what the fitted model says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file

from services.ranker.domain.event import EventType, HistoryEntry
from services.ranker.domain.shopper.events import SEQUENCE, WORDS, read_entries, shopper_events
from tests.unit.training.shopper.shop import ITEMS, QUICK, TEXT, catalogue, cyclic_log, trained
from training.shopper.export import INPUTS, export
from training.shopper.network import UserSide
from training.shopper.settings import NetworkSettings
from training.shopper.train import Trained
from training.shopper.windows import Windows

NOW_S = 1.7e9


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def version(fitted: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("version")
    export(fitted.model, catalogue(), folder, {"history": 0.5})
    return folder


def session(version: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(version / "user.onnx"), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("m", [1, 2, 7, 49, SEQUENCE])
def test_the_graph_gives_the_vector_of_the_network(fitted: Trained, version: Path, m: int) -> None:
    """For any number of events, with queries among them, the ONNX graph and the network differ by less than 1e-4."""
    random = np.random.default_rng(m)
    entries = [
        HistoryEntry("", "", EventType.SEARCH, NOW_S - 3600.0 * age, 0, None, query=f"red lamp {age}")
        if age % 3 == 2
        else HistoryEntry(f"p{random.integers(ITEMS)}", "", EventType.CLICK, NOW_S - 3600.0 * age, 0, None)
        for age in range(m)
    ]
    events = shopper_events(read_entries(entries))
    vectors = load_file(version / "items.safetensors")["vectors"].astype(np.float32)
    rows = np.array([vectors[int(item[1:])] if item else np.zeros(vectors.shape[1]) for item in events.item_ids])
    values = (rows.astype(np.float32), events.types, events.ages(NOW_S), events.words)
    served = session(version).run(["vector"], dict(zip(INPUTS, values, strict=True)))[0]
    with torch.inference_mode():
        expected = fitted.model.network.user.person(*map(torch.from_numpy, values)).numpy()
    assert served.shape == (QUICK.network.width,)
    np.testing.assert_allclose(served, expected, atol=1e-4)


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_person_is_the_state_after_the_last_event(blocks: int) -> None:
    """`person` computes one of the states that training computes for every event."""
    torch.manual_seed(blocks)
    user = UserSide(NetworkSettings(width=8, blocks=blocks)).eval()
    for parameter in user.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    for m in (1, 2, SEQUENCE):
        items, days, words = torch.randn(m, 8), torch.rand(m).sort(descending=True).values, torch.arange(m * WORDS)
        types, gaps = torch.arange(m) % 6 + 1, days - torch.cat([days[1:], torch.zeros(1)])
        events = types, words.reshape(m, WORDS)
        with torch.inference_mode():
            every = user.states(items[None], events[0][None], gaps[None], events[1][None])[0]
            found = user.person(items, events[0], torch.log1p(days), events[1])
        np.testing.assert_allclose(found.numpy(), every[-1].numpy(), atol=1e-4)


def test_serving_reads_a_history_as_training_does(fitted: Trained, version: Path) -> None:
    """A person's vector at the time of an event is the same from the log's windows and from the served history."""
    log = cyclic_log()
    event = int(log.starts[4] - 1)
    rows = np.arange(log.starts[3], event)
    entries = [
        HistoryEntry(f"p{log.items[row]}", "", EventType.PURCHASE, float(log.times_s[row]), 0, None)
        for row in rows[::-1]
    ]
    events = shopper_events(read_entries(entries))
    vectors = load_file(version / "items.safetensors")["vectors"].astype(np.float32)
    values = (vectors[log.items[rows]], events.types, events.ages(float(log.times_s[event])), events.words)
    served = session(version).run(["vector"], dict(zip(INPUTS, values, strict=True)))[0]
    expected = fitted.model.persons(Windows(log, ITEMS), np.array([event]))[0]
    np.testing.assert_allclose(served, expected, atol=1e-3)


def test_the_map_gives_a_new_product_its_vector(fitted: Trained, version: Path) -> None:
    """The vector of a known product is its id embedding plus the exported map of its unit text vector."""
    found = load_file(version / "items.safetensors")
    text = catalogue().inputs()
    by_map = np.concatenate([text, np.ones((ITEMS, 1), np.float32)], axis=1) @ found["map"]
    ids = fitted.model.network.ids.weight.detach().numpy()
    np.testing.assert_allclose(found["vectors"].astype(np.float32), by_map + ids, atol=2e-3)


def test_the_folder_is_complete(version: Path) -> None:
    """The version has the files and fields that the ranker reads."""
    model = json.loads((version / "model.json").read_text())
    assert model.pop("model_version").startswith("shopper@")
    assert model == {
        "format": 1, "kind": "shopper", "dimensions": QUICK.network.width, "vector_version": "text@1",
        "text_dimensions": TEXT, "image_dimensions": 0, "sequence": SEQUENCE,
    }  # fmt: skip
    assert json.loads((version / "items.json").read_text()) == [f"p{item}" for item in range(ITEMS)]
    found = load_file(version / "items.safetensors")
    assert {name: (str(rows.dtype), rows.shape) for name, rows in found.items()} == {
        "vectors": ("float16", (ITEMS, QUICK.network.width)),
        "map": ("float32", (TEXT + 1, QUICK.network.width)),
    }
    assert json.loads((version / "weights.json").read_text()) == {"history": 0.5}
