"""The encoder's training on several machines: Ray Train calls the same function, and gloo averages the gradients.

The folders of the base model and of the result must have the same path on every machine, on a shared file system.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.search.encoder import Examples, train_encoder
from training.search.settings import EncoderTraining


@dataclass(frozen=True)
class Workers:
    """`address` of the Ray cluster; empty: a local one with as many CPUs as the workers need."""

    count: int
    threads: int = 1
    address: str = ""


def train_encoder_on_ray(
    examples: Examples, base_dir: Path, target: Path, settings: EncoderTraining, workers: Workers
) -> Path:
    """As `train_encoder`, whose docstring describes the workers. Raises Ray Train's errors if a worker fails."""
    # Imported here: training in one process does not need Ray.
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    cpus = None if workers.address else workers.count * workers.threads + 1
    ray.init(address=workers.address or None, num_cpus=cpus, include_dashboard=None if workers.address else False)
    try:
        TorchTrainer(
            _train_here,
            train_loop_config={
                "arguments": (examples, base_dir.resolve(), target.resolve(), settings),
                "threads": workers.threads,
            },
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=workers.count, resources_per_worker={"CPU": workers.threads}),
            run_config=RunConfig(name=target.name, storage_path=str(target.resolve().with_suffix(".ray"))),
        ).fit()
    finally:
        ray.shutdown()
    return target


def _train_here(config: dict[str, Any]) -> None:
    """Runs in each worker."""
    torch.set_num_threads(config["threads"])
    train_encoder(*config["arguments"])
