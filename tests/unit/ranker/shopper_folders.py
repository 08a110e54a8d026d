"""Small versions of a shopper model on disk, whose results can be computed by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save_file

DIMENSIONS = 2


def write_version(
    folder: Path,
    items: Mapping[str, Sequence[float]],
    digest: str = "aaaaaaaaaaaa",
    vector_version: str = "m@1",
    text_map: Sequence[Sequence[float]] = ((1, 0), (0, 1)),
    bias: Sequence[float] = (0, 0),
    weights: Mapping[str, float] | None = None,
) -> str:
    """The model's version. The person's vector is the sum of the item vectors, each divided by e to the event's age."""
    version = f"shopper@{digest}"
    about = {
        "format": 1, "kind": "shopper", "model_version": version, "dimensions": DIMENSIONS,
        "vector_version": vector_version, "text_dimensions": len(text_map), "image_dimensions": 0, "sequence": 50,
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(about), "utf-8")
    (folder / "items.json").write_text(json.dumps(list(items)), "utf-8")
    vectors = np.array(list(items.values()), np.float16).reshape(-1, DIMENSIONS)
    save_file({"vectors": vectors, "map": np.array([*text_map, bias], np.float32)}, folder / "items.safetensors")
    onnx.save(_graph(), folder / "user.onnx")
    if weights is not None:
        (folder / "weights.json").write_text(json.dumps(weights), "utf-8")
    return version


def _graph() -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info("items", TensorProto.FLOAT, ["m", DIMENSIONS]),
        helper.make_tensor_value_info("types", TensorProto.INT64, ["m"]),
        helper.make_tensor_value_info("ages", TensorProto.FLOAT, ["m"]),
        helper.make_tensor_value_info("words", TensorProto.INT64, ["m", 8]),
    ]
    nodes = [
        helper.make_node("Neg", ["ages"], ["negated"]),
        helper.make_node("Exp", ["negated"], ["kept"]),
        helper.make_node("MatMul", ["kept", "items"], ["vector"]),
    ]
    output = helper.make_tensor_value_info("vector", TensorProto.FLOAT, [DIMENSIONS])
    graph = helper.make_graph(nodes, "user", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
