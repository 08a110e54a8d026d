"""Server reflection, v1 and v1alpha.

grpcio-reflection has v1alpha only. The messages of v1 are the same on the wire, so that one servicer serves both. Its
descriptor is made from that of v1alpha: a client may ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

V1, _V1ALPHA = "grpc.reflection.v1", "grpc.reflection.v1alpha"
SERVICE_NAME = f"{V1}.ServerReflection"


def add_reflection(services: Sequence[str], server: Any) -> None:
    """Adds both versions to a server of grpc.aio, or to what stands for it.

    They describe `services`, by full name, and themselves.
    """
    _add_descriptor()
    servicer = reflection.aio.ReflectionServicer((*services, reflection.SERVICE_NAME, SERVICE_NAME))
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handler = grpc.method_handlers_generic_handler(SERVICE_NAME, {"ServerReflectionInfo": method})
    server.add_generic_rpc_handlers((handler,))


def _add_descriptor() -> None:
    pool, file = descriptor_pool.Default(), descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", V1
    for message in file.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = field.type_name.replace(f".{_V1ALPHA}.", f".{V1}.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(f".{_V1ALPHA}.", f".{V1}.")
        method.output_type = method.output_type.replace(f".{_V1ALPHA}.", f".{V1}.")
    # The same file again changes nothing.
    pool.Add(file)
