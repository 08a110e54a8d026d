"""A trainer that is killed at any point leaves the registry whole, and the next run continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from services.ranker.adapters.shopper_version import ShopperVersion
from tests.fakes.training_gateway import FakeTrainingGateway
from tests.unit.training.suite.shop import gateway, suite
from training.suite.run import Suite

_KILLS = 3
_PROGRAM = """
import sys
from pathlib import Path
from tests.unit.training.suite.shop import SETTINGS, NOW_S, bar, suite
from training.suite.run import run
from training.suite.work import WorkFolder

target, models, work = sys.argv[1:]
print("begun", flush=True)
run(suite(target, models), WorkFolder(Path(work)), SETTINGS, bar(), ["shopper"], lambda: NOW_S)
"""


def test_a_killed_trainer_leaves_the_registry_whole(tmp_path: Path) -> None:
    """After SIGKILL at random points the pointer names a whole version or none, whose item vectors are complete."""
    random, shop = np.random.default_rng(), gateway(120)
    with shop.serving() as target:
        of = suite(target, tmp_path / "models")
        arguments = [sys.executable, "-c", _PROGRAM, target, str(tmp_path / "models"), str(tmp_path / "work")]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        killed = 0
        for _ in range(_KILLS):
            process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE)
            assert process.stdout is not None
            process.stdout.readline()
            timer = threading.Timer(float(random.uniform(0.05, 4.0)), process.kill)
            timer.start()
            code = process.wait()
            timer.cancel()
            killed += code == -signal.SIGKILL
            assert code in (0, -signal.SIGKILL)
            assert_whole(of, shop)
        assert subprocess.run(arguments, env=environment, check=False, stdout=subprocess.DEVNULL).returncode == 0
        assert_whole(of, shop)
    assert of.shoppers.rollout().current
    assert killed, "no run was killed; the points are too late"


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    """A run whose gateway fails after some pages continues at the page behind them."""
    shop = gateway(120)
    shop.before = _Failing()
    with shop.serving() as target:
        arguments = [sys.executable, "-c", _PROGRAM, target, str(tmp_path / "models"), str(tmp_path / "work")]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while shop.called.count("ReadLog") < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
        shop.before, shop.called = None, []
        assert subprocess.run(arguments, check=False, stdout=subprocess.DEVNULL).returncode == 0
        assert shop.called.count("ListProducts") == 0


class _Failing:
    """Holds the first page of the log for long."""

    def __call__(self, name: str) -> None:
        if name == "ReadLog":
            time.sleep(2.0)


def assert_whole(of: Suite, shop: FakeTrainingGateway) -> None:
    registry = of.shoppers
    for version in registry.versions():
        ShopperVersion(registry.path(version))
        assert registry.manifest(version)["model_version"].startswith("shopper@")
    if current := registry.rollout().current:
        assert shop.item_vectors[registry.manifest(current)["model_version"]].is_complete
