"""A version of the shopper model, read from its folder. docs/explanation/ranking.md describes the files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import numpy.typing as npt
import onnxruntime
from safetensors.numpy import load_file

from services.common.arrays import FloatArray
from services.ranker.domain.event import EventType, HistoryEntry
from services.ranker.domain.shopper.events import WORDS, ShopperEvents, read_entries, shopper_events
from services.ranker.domain.user_history import UserHistory
from services.ranker.domain.weights import Weights

FORMAT = 1
MODEL, ITEMS, VECTORS, USER_GRAPH, WEIGHTS = (
    "model.json",
    "items.json",
    "items.safetensors",
    "user.onnx",
    "weights.json",
)
USER_INPUTS = ("items", "types", "ages", "words")


class ShopperVersion:
    """Raises ValueError for a folder whose parts do not fit together. It has answered once when it is made."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        about = json.loads((folder / MODEL).read_text("utf-8"))
        if about.get("format") != FORMAT or about.get("kind") != "shopper":
            raise ValueError(
                f"{folder / MODEL} is of format {about.get('format')} and kind {about.get('kind')}, this reads format "
                f"{FORMAT} of kind shopper; train it again"
            )
        self.name: str = about["model_version"]
        self.weights = fitted_weights(folder)
        self._dimensions: int = about["dimensions"]
        self._vector_version: str = about["vector_version"]
        self._text_dimensions: int = about["text_dimensions"]
        item_ids: list[str] = json.loads((folder / ITEMS).read_text("utf-8"))
        tensors = load_file(folder / VECTORS)
        # [items, dimensions] float16: half the memory, and only rows of it are read.
        self._vectors: npt.NDArray[np.float16] = tensors["vectors"]
        mapped: FloatArray = tensors["map"].astype(np.float32)
        rows = self._text_dimensions + about["image_dimensions"] + 1
        for name, array, shape in (("vectors", self._vectors, (len(item_ids),)), ("map", mapped, (rows,))):
            if array.shape != (*shape, self._dimensions):
                expected = (*shape, self._dimensions)
                raise ValueError(f"{folder / VECTORS}: {name} has shape {array.shape}, not {expected}; train it again")
        # Here an item has no picture: those rows of the map count nothing.
        self._map, self._bias = mapped[: self._text_dimensions], mapped[-1]
        self._rows = {item_id: row for row, item_id in enumerate(item_ids)}
        self._user = _session(folder / USER_GRAPH, threads)
        self._run(np.zeros((1, self._dimensions), np.float32), [6], [0.0], [[1] + [0] * (WORDS - 1)])

    def vector(self, history: UserHistory, now_s: float) -> FloatArray | None:
        """[dimensions], of the recent events; None if the model reads none of them.

        Events on items that are neither in the version nor have a vector that its map reads are left out.
        """
        # By a weak reference: a history in a cache does not keep an old version.
        if (found := history.once(_read, ref(self))) is None:
            return None
        events, items = found
        return self._run(items, events.types, events.ages(now_s), events.words)

    def read(self, recent: Sequence[HistoryEntry]) -> tuple[ShopperEvents, FloatArray] | None:
        """What the model reads of events, newest first, and the vectors of their items [m, dimensions]."""
        read = read_entries([entry for entry in recent if self._knows(entry)])
        if not read:
            return None
        events = shopper_events(read)
        rows = np.array([self._rows.get(item_id, -1) for item_id in events.item_ids], np.int64)
        items = np.zeros((len(rows), self._dimensions), np.float32)
        items[rows >= 0] = self._vectors[rows[rows >= 0]]
        for place in np.flatnonzero(rows < 0).tolist():
            if events.item_ids[place]:
                items[place] = self._mapped(read[place])
        return events, items

    def scores(
        self, person: FloatArray, item_ids: Sequence[str], vectors: FloatArray, vector_version: str
    ) -> FloatArray:
        """[n]: dot products of `person` [dimensions] with the item vectors; see ports.ShopperPerson."""
        rows = np.array([self._rows.get(item_id, -1) for item_id in item_ids], np.int64)
        scores = np.zeros(len(rows), np.float32)
        known = rows >= 0
        scores[known] = self._vectors[rows[known]].astype(np.float32) @ person
        if not known.all() and self._reads(vector_version, vectors.shape[1]):
            # A product without a vector has the map of zeros.
            scores[~known] = vectors[~known] @ (self._map @ person) + float(self._bias @ person)
        return scores

    def _knows(self, entry: HistoryEntry) -> bool:
        if entry.type is EventType.SEARCH or entry.item_id in self._rows:
            return True
        features = entry.features
        return (
            features is not None
            and features.vector is not None
            and self._reads(features.model_version, len(features.vector))
        )

    def _mapped(self, entry: HistoryEntry) -> FloatArray:
        """[dimensions], of an item that only its text vector describes."""
        assert entry.features is not None
        assert entry.features.vector is not None
        text = entry.features.vector / max(float(np.linalg.norm(entry.features.vector)), 1e-9)
        mapped: FloatArray = text.astype(np.float32) @ self._map + self._bias
        return mapped

    def _reads(self, vector_version: str, dimensions: int) -> bool:
        return vector_version == self._vector_version and dimensions == self._text_dimensions

    def _run(self, items: FloatArray, types: Any, ages: Any, words: Any) -> FloatArray:
        feed = dict(
            zip(
                USER_INPUTS,
                (items, np.asarray(types, np.int64), np.asarray(ages, np.float32), np.asarray(words, np.int64)),
                strict=True,
            )
        )
        vector: FloatArray = self._user.run(None, feed)[0]
        if vector.shape != (self._dimensions,):
            raise ValueError(f"{USER_GRAPH} gives {vector.shape}, not {(self._dimensions,)}; train it again")
        return vector


def _read(history: UserHistory, version: ref[ShopperVersion]) -> tuple[ShopperEvents, FloatArray] | None:
    return None if (model := version()) is None else model.read(history.recent)


def fitted_weights(folder: Path) -> Weights | None:
    """Of the version in the folder, if it has some. Raises ValueError for weights that are missing or not finite."""
    file = folder / WEIGHTS
    if not file.exists():
        return None
    content = json.loads(file.read_text("utf-8"))
    try:
        found = {field.name: float(content[field.name]) for field in fields(Weights)}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} has a weight missing ({error}); train it again") from None
    if not all(map(math.isfinite, found.values())):
        raise ValueError(f"{file} holds a weight that is not finite; train it again")
    return Weights(**found)


def _session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Idle threads sleep instead of spinning: other services share these cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
