"""The prices of a logged page as a few small arrays: some 40 bytes for each item, of which a quote's id takes 16."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.ranker.domain.shown_prices import ShownPrices

_UUID = re.compile(r"[0-9a-f]{32}")
_UUID_BYTES = 16


def prices_to_arrays(prices: ShownPrices) -> tuple[dict[str, Any], list[npt.NDArray[Any]]]:
    """(header, arrays)."""
    currencies, reasons = list(dict.fromkeys(prices.currencies)), list(dict.fromkeys(prices.reasons))
    header: dict[str, Any] = {
        "list": prices.price_list_id, "place": prices.place_id, "currencies": currencies, "reasons": reasons,
    }  # fmt: skip
    packed = _packed(prices.quote_ids)
    if packed is None:
        header["quote_ids"], packed = list(prices.quote_ids), np.zeros(0, np.uint8)
    numbers: list[Sequence[int] | npt.NDArray[np.int64]] = [
        [currencies.index(currency) for currency in prices.currencies],
        [reasons.index(reason) for reason in prices.reasons],
        prices.offers,
        # Most items are sold at their list price.
        prices.list_prices - prices.offers,
    ]
    return header, [*map(_small, numbers), prices.in_stock.astype(np.uint8), packed]


def prices_from_arrays(header: dict[str, Any], arrays: Iterator[npt.NDArray[Any]]) -> ShownPrices:
    currencies, reasons, offers, reductions, in_stock, packed = (next(arrays) for _ in range(6))
    offers = offers.astype(np.int64)
    return ShownPrices(
        header["list"], header["place"], [header["currencies"][at] for at in currencies], offers,
        offers + reductions.astype(np.int64), [header["reasons"][at] for at in reasons],
        header["quote_ids"] if "quote_ids" in header else [row.tobytes().hex() if row.any() else "" for row in packed],
        in_stock.astype(np.bool_),
    )  # fmt: skip


def _packed(quote_ids: Sequence[str]) -> npt.NDArray[np.uint8] | None:
    """[n, 16]; a row of zeros: there is no quote. None if an id is not 32 hexadecimal digits."""
    empty = "0" * 2 * _UUID_BYTES
    if any(id and (id == empty or not _UUID.fullmatch(id)) for id in quote_ids):
        return None
    data = bytes.fromhex("".join(id or empty for id in quote_ids))
    return np.frombuffer(data, np.uint8).reshape(len(quote_ids), _UUID_BYTES)


def _small(values: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """In the smallest type that holds all values."""
    array = np.asarray(values, np.int64)
    least, most = (int(array.min()), int(array.max())) if len(array) else (0, 0)
    fitting = (np.iinfo(name) for name in ("u1", "<u2", "<u4", "<i8"))
    return array.astype(next(type.dtype for type in fitting if type.min <= least and most <= type.max))
