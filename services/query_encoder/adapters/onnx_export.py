"""Exports a torch model to ONNX: `python -m services.query_encoder.adapters.onnx_export MODEL_DIR CACHE_DIR`.

The export runs in a process of its own, so that the serving process never loads torch. A process that has loaded it
already, such as a training, exports by itself: starting another one takes 6 s of CPU, and the export of a small model
0.2 s. Several processes may export the same model at once: the folder appears by one rename.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from services.query_encoder.adapters.sentence_folder import read_sentence_folder

# Increased when the graph or the quantisation changes.
EXPORT_VERSION = 3
FP32, INT8 = "encoder.onnx", "encoder.int8.onnx"
# Torch knows whether a process exports, not which thread.
_exporting = threading.Lock()


def exported(model_dir: Path, cache_dir: Path) -> Path:
    """The folder with the files FP32 and INT8 for the weights in `model_dir`. Exports the model if the folder is
    missing.
    """
    target = _target(model_dir, cache_dir)
    if not target.is_dir() and "torch" in sys.modules:
        with _exporting:
            export(model_dir, target)
    elif not target.is_dir():
        command = [sys.executable, "-m", __name__, str(model_dir), str(cache_dir)]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode != 0 or not target.is_dir():
            raise RuntimeError(
                f"the export of {model_dir} to ONNX failed; KAIROS_QUERY_ENCODER_BACKEND=torch serves it without an "
                f"export:\n{outcome.stderr[-4000:]}"
            )
    return target


def export(model_dir: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        _write(work, model_dir)
        os.rename(work, target)
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        # Another process was faster: its folder is used.
        if not (isinstance(error, OSError) and target.is_dir()):
            raise


def _write(work: Path, model_dir: Path) -> None:
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from services.query_encoder.adapters.torch_encoder import load_model

    ids = torch.ones(2, 8, dtype=torch.long)
    axes = {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "length"}}
    # Attention in plain operators: torch's fused attention exports to more operators and takes a tenth longer. The
    # fusions of onnxruntime.transformers were measured too: those of attention and of Gelu make bulk encoding slower.
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            load_model(model_dir, attention="eager"), (ids, ids), str(work / FP32), dynamo=False, opset_version=18,
            input_names=list(axes), output_names=["vectors"], dynamic_axes=axes,
        )  # fmt: skip
    # Weights of 7 bits: products of 8 bits overflow on a CPU without VNNI, and the vectors would depend on the machine.
    with _without_advice():
        quantize_dynamic(
            str(work / FP32), str(work / INT8), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
        )


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """The quantisation advises another preparation of the model; a caller can do nothing about it."""
    root = logging.getLogger()

    def is_other(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in str(record.msg)

    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)


def _target(model_dir: Path, cache_dir: Path) -> Path:
    return cache_dir / f"{_digest(model_dir)}-{EXPORT_VERSION}"


def _digest(model_dir: Path) -> str:
    folder, digest = read_sentence_folder(model_dir), hashlib.blake2b(digest_size=8)
    files = [*folder.weights, folder.transformer_dir / "config.json", folder.transformer_dir / "tokenizer.json"]
    if not folder.is_mean:
        steps = [step and (step.activation, step.bias) for step in folder.after_pooling]
        digest.update(repr((folder.poolings, folder.pools_prompt, steps)).encode())
        files += [step.weights for step in folder.after_pooling if step is not None]
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    export(Path(sys.argv[1]), _target(Path(sys.argv[1]), Path(sys.argv[2])))
