"""A shop whose persons buy product i + 1 after product i, behind a gateway in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from rich.console import Console

from kairos.common.v1 import event_pb2, product_pb2
from ops.client import Connection
from services.ranker.settings import RankerSettings
from tests.fakes.training_gateway import FakeTrainingGateway
from tests.unit.training.shopper.shop import QUICK
from training.suite.progress import Progress
from training.suite.run import Suite
from training.suite.settings import Least, SuiteTraining

ITEMS, TEXT, PERSONS = 40, 12, 240
NOW_S = 1_800_000_000.0
SETTINGS = SuiteTraining(Least(persons=20, events=200, pages=30), replace(QUICK, epochs=6))
WEIGHTS = RankerSettings().serving_weights


def events(persons: int = PERSONS, first: int = 0, until_s: float = NOW_S, step: int = 1) -> list[event_pb2.Event]:
    """Of each person five to nine purchases, an hour apart; the last one before `until_s`."""
    random = np.random.default_rng(first)
    made = []
    for person in range(first, first + persons):
        start, count = int(random.integers(ITEMS)), int(random.integers(5, 10))
        for at in range(count):
            event = event_pb2.Event(
                event_id=f"{person}-{at}-{first}", user_id=f"u{person}", item_id=f"p{(start + at * step) % ITEMS}",
                type=event_pb2.EVENT_TYPE_PURCHASE,
            )  # fmt: skip
            event.occurred_at.FromSeconds(int(until_s - 3_600 * (count - at) - 60 * (person % 600)))
            made.append(event)
    return sorted(made, key=lambda event: event.occurred_at.seconds)


def gateway(persons: int = PERSONS) -> FakeTrainingGateway:
    vectors = np.random.default_rng(0).normal(size=(ITEMS, TEXT)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    products = [product(item) for item in range(ITEMS)]
    return FakeTrainingGateway(products, vectors, events(persons))  # type: ignore[abstract]


def product(item: int) -> product_pb2.Product:
    made = product_pb2.Product(id=f"p{item}", title=f"thing {item}", category_path=[f"shelf {item % 2}"])
    made.price.currency_code, made.price.units = "USD", 10 + item
    return made


def suite(target: str, models: object) -> Suite:
    from pathlib import Path

    return Suite(Connection(target), Path(str(models)), "default", WEIGHTS)


def bar() -> Progress:
    return Progress(Console(), quiet=True)
