"""A version of the text model in the registry: an encoder, the weights of a query's context, and possibly a fusion.

    text.json    name, alpha, beta, fusion
    encoder/     a sentence-transformer
    exported/    its ONNX form, as query_encoder's onnx_export writes it
    fusion/      the learned fusion, if `fusion` is true

Without exported/ the query encoder exports the model when it loads the version, which needs torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from services.common.limits import MAX_MODEL_VERSION, text_problem

# The registry of a tenant's text models, in the folder of the registry of its rankers.
FOLDER = "text"
ABOUT, ENCODER, EXPORTED, FUSION = "text.json", "encoder", "exported", "fusion"
# The model version of vectors of a trained text model begins with it.
PREFIX = "text@"


@dataclass(frozen=True)
class TextVersion:
    """`name` is the model version of its vectors. A query's vector is alpha * query + beta * mean(context).

    `fusion`: whether the version has a learned fusion; without one its searches are fused by the fixed weights.
    """

    name: str
    alpha: float
    beta: float
    fusion: bool


def shopper_of(user_id: str, visitor_id: str) -> str:
    """Tells people apart without naming them, also to draw who is answered by a version on trial. Empty: nobody known.

    A session is not a person: a person with three sessions would count as three.
    """
    if not (user_id or visitor_id):
        return ""
    whose = f"user:{user_id}" if user_id else f"visitor:{visitor_id}"
    return hashlib.blake2b(whose.encode(), digest_size=16).hexdigest()


def read_text_version(folder: Path) -> TextVersion:
    """Raises ValueError that names the file and what is wrong with it."""
    file = folder / ABOUT
    try:
        content = json.loads(file.read_text("utf-8"))
        found = TextVersion(content["name"], float(content["alpha"]), float(content["beta"]), content["fusion"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} describes no text model ({error!r}); train it again") from None
    if not (isinstance(found.name, str) and found.name.startswith(PREFIX)):
        raise ValueError(f"{file}: name is {found.name!r}; it begins with {PREFIX!r}; train it again")
    if problem := text_problem(found.name, MAX_MODEL_VERSION):
        raise ValueError(f"{file}: name {problem}; train it again")
    if not (math.isfinite(found.alpha) and found.alpha > 0 and math.isfinite(found.beta) and found.beta >= 0):
        raise ValueError(f"{file}: alpha {found.alpha} or beta {found.beta} is out of range; train it again")
    if not isinstance(found.fusion, bool):
        raise ValueError(f"{file}: fusion is {found.fusion!r}, not true or false; train it again")
    return found


def write_text_version(version: TextVersion, folder: Path) -> None:
    (folder / ABOUT).write_text(json.dumps(asdict(version), indent=1) + "\n", "utf-8")
