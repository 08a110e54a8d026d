"""Rows of a file as offers, and their import through the gateway."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from catalog.columns import snake_case
from catalog.dates import parse_time
from catalog.files import RowRefused
from catalog.imports import Rejects, Summary
from catalog.money import parse_currency, parse_money
from catalog.numbers import Notation, cut, parse_stock
from catalog.retries import attempts
from catalog.rows import Row, read_rows
from catalog.text import is_missing, stripped
from kairos.common.v1 import offer_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from services.common.convert import money_to_proto

# Offers of one call: the answer lists as many rejected ones and unknown products.
_OFFERS = 1_000
# Rows that show how the file writes decimals.
_SAMPLE = 1_000
_TIMEOUT_S = 600.0
_IDS, _AMOUNTS, _TIMES = ("price_list_id", "place_id"), ("price", "sale_price"), ("sale_starts_at", "sale_ends_at")
_PREFIX = "FULFILMENT_"
_YES, _NO = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


def offer_of(values: Mapping[str, Any], currency: str, notation: Notation) -> offer_pb2.Offer:
    """The offer of one row. Columns are named as the fields of offer.proto; `currency`: of amounts that name none in
    rows without a column `currency`; fulfilments are words such as "pickup,delivery".

    Raises RowRefused.
    """
    row = {snake_case(key): value for key, value in values.items() if not is_missing(value)}
    for name in ("product_id", "updated_at"):
        if name not in row:
            raise RowRefused(name, "is empty; it is required")
    offer = offer_pb2.Offer(product_id=_text("product_id", row["product_id"]))
    for name in _IDS:
        if name in row:
            setattr(offer, name, _text(name, row[name]))
    offer.updated_at.FromDatetime(parse_time("updated_at", row["updated_at"]))
    is_fixed = "currency" in row
    if is_fixed:
        currency = parse_currency("currency", row["currency"], currency)
    for name in _AMOUNTS:
        if name in row:
            money = parse_money(name, row[name], currency, notation, only=is_fixed)
            getattr(offer, name).CopyFrom(money_to_proto(money))
    for name in _TIMES:
        if name in row:
            getattr(offer, name).FromDatetime(parse_time(name, row[name]))
    if "stock" in row and (stock := parse_stock("stock", row["stock"], notation)) is not None:
        offer.stock = stock
    offer.fulfilments.extend(_fulfilments(row.get("fulfilments", "")))
    offer.is_removed = _is_true("is_removed", row.get("is_removed", False))
    return offer


def observation_of(values: Mapping[str, Any], currency: str, notation: Notation) -> offer_pb2.Offer:
    """A competitor's price, from a row with the columns of OBSERVED and price, currency and in_stock.

    Raises RowRefused.
    """
    row = {snake_case(key): value for key, value in values.items() if not is_missing(value)}
    for name in (*OBSERVED.values(), "price"):
        if name not in row:
            raise RowRefused(name, "is empty; it is required")
    is_in_stock = _is_true("in_stock", row.get("in_stock", True))
    of_offer = {field: row[column] for field, column in OBSERVED.items()} | {
        name: row[name] for name in ("price", "currency") if name in row
    }
    offer = offer_of(of_offer, currency, notation)
    offer.source = offer_pb2.OFFER_SOURCE_COMPETITOR
    if not is_in_stock:
        offer.stock = 0
    return offer


# The columns of a competitor's price by the field of the offer.
OBSERVED = {"product_id": "product_id", "place_id": "competitor", "updated_at": "observed_at"}
# From the values of a row, the currency of amounts that name none, and the notation of numbers.
Reader = Callable[[Mapping[str, Any], str, Notation], offer_pb2.Offer]


@dataclass
class OffersImport:
    """Imports offers. In `summary` those count as unchanged of which the same or a later one was stored before.

    `columns`: by the field of an offer, the column that it is read from, where that is named otherwise.
    """

    connection: Connection
    currency: str
    rejects: Rejects
    read: Reader = offer_of
    columns: Mapping[str, str] = field(default_factory=dict)
    summary: Summary = field(default_factory=Summary)

    def run(self, path: Path, quiet: bool = False) -> Summary:
        """Raises grpc.RpcError if the gateway refuses a call. Offers that it acknowledged before stay stored."""
        rows = self._good_rows(path)
        with self.connection.stub() as stub, tqdm(unit=" offers", disable=quiet, desc="Importing") as bar:
            while batch := list(islice(rows, _OFFERS)):
                self._send(stub, batch)
                bar.update(len(batch))
        self.rejects.close()
        self.summary.rejected = self.rejects.count
        return self.summary

    def _good_rows(self, path: Path) -> Iterator[tuple[Row, offer_pb2.Offer]]:
        sample = (value for row in islice(read_rows(path), _SAMPLE) for value in row.values.items())
        notation = Notation.shown_by(value for name, value in sample if snake_case(name) in _AMOUNTS)
        for row in read_rows(path):
            self.summary.read += 1
            if row.problem:
                self.rejects.add(row, "row", row.problem)
                continue
            try:
                yield row, self.read(row.values, self.currency, notation)
            except RowRefused as refused:
                self.rejects.add(row, self._column(refused.field), refused.reason)

    def _send(self, stub: gateway_pb2_grpc.GatewayServiceStub, batch: list[tuple[Row, offer_pb2.Offer]]) -> None:
        message = gateway_pb2.UpdateOffersRequest(offers=[offer for _, offer in batch])
        for attempt in attempts():
            with attempt:
                answer = stub.UpdateOffers(iter([message]), timeout=_TIMEOUT_S, metadata=self.connection.metadata)
        self.summary.imported += answer.updated_count
        self.summary.unchanged += answer.stale_count
        for rejected in answer.rejected:
            self.rejects.add(batch[rejected.index][0], self._column(rejected.field), rejected.reason)
        missing = frozenset(answer.missing_ids)
        refused = {rejected.index for rejected in answer.rejected}
        for index, (row, offer) in enumerate(batch):
            if offer.product_id in missing and index not in refused:
                self.rejects.add(row, "product_id", "the catalogue does not have this product; import it first")

    def _column(self, field: str) -> str:
        return self.columns.get(field, field)


def _fulfilments(value: Any) -> list[offer_pb2.Fulfilment.ValueType]:
    words = value if isinstance(value, list) else re.split(r"[\s,;|]+", _text("fulfilments", value))
    names = [_PREFIX + str(word).strip().upper().removeprefix(_PREFIX) for word in words if str(word).strip()]
    for name in names:
        if name not in offer_pb2.Fulfilment.DESCRIPTOR.values_by_name or name == f"{_PREFIX}UNSPECIFIED":
            raise RowRefused("fulfilments", f"{cut(value)} is unknown; use pickup and delivery, or leave it out")
    return [offer_pb2.Fulfilment.Value(name) for name in names]


def _is_true(name: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        raise RowRefused(name, f"{cut(value)} is unknown; use true or false")
    return word in _YES


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool | dict | list):
        raise RowRefused(key, f"{cut(value)} is not a text")
    return stripped(str(value))
