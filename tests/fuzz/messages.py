"""Requests of every method: valid ones, invalid ones, mutated ones, and bytes that only look like messages."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from services.gateway.message_limits import GATEWAY_SERVICE, MESSAGE_LIMITS

METHODS = tuple(MESSAGE_LIMITS)
_TEXTS = (
    "", "a", "p1", "p7", "shoes", "red shoes under $90", "user-1", "brand", "category", "attributes.colour", "B", "USD",
    "usd", "QQQ", "en", "en-US", "zh-Hant-TW", "x" * 36, "../x", "lock", "\x00", "a\nb", "\u2028", "\u202ex", "🥾" * 40,
    "x" * 128, "x" * 129, "é" * 513, "x" * 5_000, "0" * 1_025, "m@1", "%s%n", "'; --", "{}", "[]", "\x1f|\x1e", "-1",
)  # fmt: skip
_INTEGERS = (0, 1, -1, 2, 7, 100, 101, 1_000, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 10**12)
_FLOATS = (0.0, -1.0, 0.5, math.inf, -math.inf, math.nan, 1e308, 5e-324)
_UNITS = tuple(
    map(bytes.fromhex, ("0a00", "3a00", "0a024200", "0b0c", "0800", "fa0700", "2a021200", "ffff", "1a0a0a00"))
)
_LARGEST = ("Search", "RecordEvents", "ImportProducts", "DeleteProducts", "QuotePrices")
_INTEGER_KINDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
# Most entries of a list that is filled; mostly few, sometimes more than any bound of the contract.
_COUNTS = (0, 1, 1, 2, 3, 17, 70, 1_001)


@dataclass
class Case:
    """One call. `messages` has more than one entry for streams only; `deadline_s` is that of the client."""

    number: int
    method: str
    messages: list[bytes]
    # None: no API key.
    role: str | None
    deadline_s: float


@dataclass
class Cases:
    """`known` holds texts of earlier answers, for example page tokens: they reach code that invented ones do not."""

    most_bytes: int = 17 << 20
    known: list[str] = field(default_factory=list)

    def case(self, number: int) -> Case:
        rng = random.Random(number)
        method = rng.choice(METHODS)
        count = rng.choice((0, 1, 2, 3)) if GATEWAY_SERVICE.methods_by_name[method].client_streaming else 1
        return Case(
            number, method, [self._request(rng, method) for _ in range(count)],
            rng.choice((None, "read", "write", "write")), rng.choice((0.006, 0.15, 1.0, 10.0)),
        )  # fmt: skip

    def _request(self, rng: random.Random, method: str) -> bytes:
        kind = rng.random()
        if kind < 0.04:
            return self._repeated(rng)
        if kind < 0.06 and method in _LARGEST:
            return self._largest(rng, method)
        if kind < 0.08:
            return rng.randbytes(rng.choice((1, 3, 20, 400)))
        data = self._message(rng, GATEWAY_SERVICE.methods_by_name[method].input_type, 0).SerializeToString()
        return self._mutated(rng, data) if kind < 0.35 else data

    def _largest(self, rng: random.Random, method: str) -> bytes:
        """A valid message, as large as the contract allows: what is expensive without being hostile."""
        ids = [f"{rng.randrange(10**9)}-{index}" for index in range(1_000)]
        token = rng.choice(self.known) if self.known else ""
        match method:
            case "RecordEvents":
                kinds = rng.choices(event_pb2.EventType.values()[1:6], k=1_000)
                events = [
                    event_pb2.Event(
                        event_id=id, user_id=ids[index % 7], item_id="p1", type=kind, attribution_token=token
                    )
                    for index, (id, kind) in enumerate(zip(ids, kinds, strict=True))
                ]
                return gateway_pb2.RecordEventsRequest(events=events).SerializeToString()
            case "ImportProducts":
                values = product_pb2.AttributeValues(values=["a", "b"])
                products = [
                    product_pb2.Product(
                        id=id, title=f"Product {id}", description="x" * 2_000, category_path=["Shoes", "Boots"],
                        attributes={f"a{n}": values for n in range(10)},
                    )
                    for id in ids[: rng.choice((20, 500))]
                ]  # fmt: skip
                return gateway_pb2.ImportProductsRequest(products=products).SerializeToString()
            case "DeleteProducts":
                return gateway_pb2.DeleteProductsRequest(ids=ids).SerializeToString()
            case "QuotePrices":
                return gateway_pb2.QuotePricesRequest(product_ids=ids[:100]).SerializeToString()
        words = [f"{word} > {'x' * 100}" for word in ids[:64]]
        narrowing = product_pb2.ProductFilter(categories=words, brands=words)
        picture = rng.randbytes(rng.choice((0, self.most_bytes // 2)))[: 8 << 20]
        return gateway_pb2.SearchRequest(
            image=picture, filter=narrowing, page_size=100, explain=True
        ).SerializeToString()

    def _repeated(self, rng: random.Random) -> bytes:
        """A message of one entry, very often."""
        size = rng.choice((100, 10_000, 1 << 20, self.most_bytes))
        unit = rng.choice(_UNITS)
        return (unit * (size // len(unit)))[: self.most_bytes]

    def _mutated(self, rng: random.Random, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(changed) + 1)
            match rng.randrange(5):
                case 0 if changed:
                    changed[at % len(changed)] ^= 1 << rng.randrange(8)
                case 1:
                    changed[at:at] = rng.randbytes(rng.randint(1, 8))
                case 2:
                    del changed[at : at + rng.randint(1, 8)]
                case 3:
                    changed[at:at] = changed[: rng.randint(0, 64)]
                case _:
                    changed[at:at] = rng.choice(_UNITS) * rng.choice((1, 2, 500))
        return bytes(changed)

    def _message(self, rng: random.Random, descriptor: Descriptor, depth: int) -> Any:
        message = message_factory.GetMessageClass(descriptor)()
        density = rng.choice((0.15, 0.4, 0.8))
        for entry in descriptor.fields:
            # What is required is mostly there: otherwise every call would end at the first check.
            if rng.random() < (density if entry.number > 1 or depth else 0.9):
                self._fill(rng, message, entry, depth)
        return message

    def _fill(self, rng: random.Random, message: Any, entry: FieldDescriptor, depth: int) -> None:
        if entry.message_type is not None and entry.message_type.GetOptions().map_entry:
            target, value = getattr(message, entry.name), entry.message_type.fields_by_name["value"]
            for _ in range(rng.choice((1, 2, 17))):
                key = self._text(rng)
                if value.message_type is None:
                    target[key] = self._value(rng, value, depth)
                else:
                    target[key].CopyFrom(self._message(rng, value.message_type, depth + 1))
        elif entry.is_repeated:
            getattr(message, entry.name).extend(
                self._value(rng, entry, depth) for _ in range(rng.choice(_COUNTS[: max(2, 8 - 2 * depth)]))
            )
        elif entry.message_type is not None:
            getattr(message, entry.name).CopyFrom(self._value(rng, entry, depth))
        else:
            setattr(message, entry.name, self._value(rng, entry, depth))

    def _value(self, rng: random.Random, entry: FieldDescriptor, depth: int) -> Any:
        if entry.message_type is not None:
            return self._message(rng, entry.message_type, depth + 1)
        makers: dict[int, Callable[[], Any]] = {
            FieldDescriptor.CPPTYPE_STRING: lambda: (
                self._bytes(rng) if entry.type == FieldDescriptor.TYPE_BYTES else self._text(rng)
            ),
            FieldDescriptor.CPPTYPE_BOOL: lambda: rng.random() < 0.5,
            FieldDescriptor.CPPTYPE_FLOAT: lambda: rng.choice(_FLOATS[:6]),
            FieldDescriptor.CPPTYPE_DOUBLE: lambda: rng.choice(_FLOATS),
            FieldDescriptor.CPPTYPE_ENUM: lambda: rng.choice((0, 1, 2, 3, 99, -1)),
        }
        if entry.cpp_type in makers:
            return makers[entry.cpp_type]()
        low, high = _INTEGER_KINDS[entry.cpp_type]
        return max(low, min(high, rng.choice(_INTEGERS)))

    def _text(self, rng: random.Random) -> str:
        kind = rng.random()
        if kind < 0.15 and self.known:
            known = rng.choice(self.known)
            return known if rng.random() < 0.7 else known[: rng.randrange(len(known) + 1)] + rng.choice(("", "A", "é"))
        if kind < 0.25:
            return "".join(chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)))) for _ in range(5))
        return rng.choice(_TEXTS)

    def _bytes(self, rng: random.Random) -> bytes:
        heads = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBP")
        return rng.choice(heads) + rng.randbytes(rng.choice((0, 4, 16, 2_000)))
