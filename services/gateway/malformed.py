"""Requests that are not what they claim to be: INVALID_ARGUMENT that names the field, where gRPC would say INTERNAL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from kairos.gateway.v1 import gateway_pb2

# A varint has at most ten bytes. Without the bound, a megabyte that never ends one would keep the event loop for hours.
_LAST_SHIFT = 63

_SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]


@dataclass(frozen=True)
class Malformed:
    """Stands in for a request that could not be read."""

    field: str
    problem: str


class MalformedRequests(grpc.aio.ServerInterceptor):
    """Puts a deserializer that returns Malformed in the place of one that raises."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        service, _, method = handler_call_details.method.lstrip("/").partition("/")
        if handler is None or handler.request_deserializer is None or service != _SERVICE.full_name:
            return handler
        descriptor, parse = _SERVICE.methods_by_name[method].input_type, handler.request_deserializer

        def read(data: bytes) -> Any:
            try:
                return parse(data)
            except DecodeError:
                field = invalid_text(descriptor, data)
                if field:
                    return Malformed(field, "is not UTF-8; send text in that encoding")
                return Malformed("request", f"is no {descriptor.name} message")

        return handler._replace(request_deserializer=read)  # type: ignore[no-any-return, attr-defined]


def invalid_text(descriptor: Descriptor, data: bytes) -> str:
    """Path of the first string field that is not UTF-8; empty where none is found."""
    try:
        return next(_invalid_texts(descriptor, data), "")
    except (IndexError, ValueError):
        return ""


def _invalid_texts(descriptor: Descriptor, data: bytes) -> Iterator[str]:
    counts: dict[int, int] = {}
    for number, value in _length_delimited(data):
        field = descriptor.fields_by_number.get(number)
        if field is None:
            continue
        name = field.name
        if field.is_repeated:
            name += f"[{counts.get(number, 0)}]"
            counts[number] = counts.get(number, 0) + 1
        if field.type == FieldDescriptor.TYPE_STRING:
            try:
                value.decode()
            except UnicodeDecodeError:
                yield name
        elif field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type is not None:
            for inner in _invalid_texts(field.message_type, value):
                yield f"{name}.{inner}"


def _length_delimited(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(field number, payload) of every length-delimited field. Raises IndexError or ValueError on broken data."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            if shift > _LAST_SHIFT:
                raise ValueError("no varint ends here")
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while place < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            varint()
        elif kind == 1:
            place += 8
        elif kind == 5:
            place += 4
        elif kind == 2:
            length = varint()
            if place + length > len(data):
                raise ValueError("cut off")
            yield tag >> 3, data[place : place + length]
            place += length
        else:
            raise ValueError(f"wire type {kind}")
