"""A trained understanding model on disk: understanding.safetensors has the arrays, understanding.json the labels and
the origin.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from services.common.models.kinds import UNDERSTANDING
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.understanding import Understander
from services.query_encoder.domain.understanding_network import BUCKETS, Labels, UnderstandingNetwork

_ARRAYS, _ABOUT = "understanding.safetensors", "understanding.json"


def load_understander(folder: Path, domain: QueryDomain, encoder_version: str) -> Understander:
    """Raises ValueError that names the folder and the problem, for example that it was trained on another encoder's
    vectors.
    """
    try:
        about = json.loads((folder / _ABOUT).read_text("utf-8"))
        network = UnderstandingNetwork(**load_file(str(folder / _ARRAYS)))
        labels = Labels(
            tuple(about["intent"]), tuple(about["category"]), tuple(about["sentiment"]),
            tuple((name, value) for name, value in about["tags"]), about["temperatures"],
        )  # fmt: skip
        encoder, model_version = about["encoder"], about["model_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} has no understanding model ({error}); train one with `kairos train --only understanding`"
        ) from None
    if encoder != encoder_version:
        raise ValueError(
            f"{folder} was trained on vectors of {encoder}, the encoder is {encoder_version}; train it again"
        )
    if network.grams.shape[0] != BUCKETS or network.output.shape[1] != labels.slices()["tags"].stop:
        raise ValueError(f"{folder} is of another version of Kairos; train it again")
    return Understander(network, labels, domain.graph, domain.rules, model_version)


def save_understanding(network: UnderstandingNetwork, labels: Labels, folder: Path, about: dict[str, Any]) -> None:
    """`about` must contain `encoder`, the version of the vectors that it was trained on.

    The model's version, which answers carry, is that of its arrays.
    """
    arrays = {field.name: np.ascontiguousarray(getattr(network, field.name)) for field in fields(network)}
    save_file(arrays, str(folder / _ARRAYS))
    digest = hashlib.blake2b((folder / _ARRAYS).read_bytes(), digest_size=6).hexdigest()
    content = {field.name: getattr(labels, field.name) for field in fields(labels)} | about
    content["model_version"] = f"{UNDERSTANDING}@{digest}"
    (folder / _ABOUT).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
