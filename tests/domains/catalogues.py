"""Two catalogues of 300 rows without price, brand and stock: courses, and services of a city."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from kairos.common.v1 import product_pb2

_HERE = Path(__file__).parent
_ROWS_EACH = 10
_AUDIENCES = ("Children", "Adults", "Seniors")


def courses() -> list[product_pb2.Product]:
    return list(_courses(_vocabulary("courses"), Random(7)))


def city_services() -> list[product_pb2.Product]:
    return list(_city_services(_vocabulary("city"), Random(7)))


CATALOGUES: dict[str, Callable[[], Sequence[product_pb2.Product]]] = {"courses": courses, "city": city_services}


def domain_folder(name: str) -> Path:
    return _HERE / name / "domain"


def _courses(words: Any, random: Random) -> Iterator[product_pb2.Product]:
    for subject, (chinese, category, subcategory, description, topics) in words["subjects"].items():
        for number in range(_ROWS_EACH):
            level = list(words["levels"])[number % 3]
            chinese_level, pattern = words["levels"][level]
            language, topic = random.choice(words["languages"]), topics[number % len(topics)]
            title = f"{pattern.format(subject)}: {topic}"
            course = product_pb2.Product(
                id=f"{subject.lower().replace(' ', '-')}-{number + 1}", title=title,
                category_path=[category, subcategory],
                description=f"{description} This course treats {topic.lower()}.",
            )  # fmt: skip
            if language == "Mandarin":
                course.title = f"{chinese}{chinese_level}"
                course.localized_titles["en"] = title
            values = {
                "level": level, "language": language, "format": random.choice(words["formats"]),
                "time": random.choice(words["times"]), "duration": random.choice(words["durations"]),
            }  # fmt: skip
            yield _with_attributes(course, values)


def _city_services(words: Any, random: Random) -> Iterator[product_pb2.Product]:
    for number, (name, row) in enumerate(words["services"].items()):
        chinese, department, unit, description, audience, fee = row
        for place, district in enumerate(words["districts"]):
            service = product_pb2.Product(
                id=f"s{number:02}{place}", title=f"{name}, {district}", category_path=[department, unit],
                description=f"{description} At the {unit.lower()} office in {district}.",
            )  # fmt: skip
            service.localized_titles["zh"] = f"{chinese}（{district}）"
            values = {
                "district": district, "fee": fee, "opening": random.choice(words["openings"]),
                "visit": random.choice(words["visits"]),
            }  # fmt: skip
            # What is for everyone is for each audience: a query for one of them finds it.
            service.attributes["audience"].values.extend(_AUDIENCES if audience == "Everyone" else [audience])
            yield _with_attributes(service, values)


def _with_attributes(product: product_pb2.Product, values: dict[str, str]) -> product_pb2.Product:
    for name, value in values.items():
        product.attributes[name].values.append(value)
    return product


def _vocabulary(name: str) -> Any:
    return yaml.safe_load((_HERE / name / "vocabulary.yaml").read_text("utf-8"))
