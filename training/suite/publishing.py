"""From a version's folder to a version that serves: item vectors beside the live ones, then the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout
from services.ranker.adapters.item_vector_messages import begin_message, has_map_for, store_messages
from services.ranker.adapters.shopper_version import ITEMS, MODEL
from training.suite.progress import Progress
from training.suite.reading import call

# Retrieval's limit of versions.
MOST_VERSIONS = 3


class NoRoom(Exception):
    """Retrieval holds as many versions of item vectors as it can, and all are in use."""


def name_of(folder: Path) -> str:
    """The model version that vectors and answers have."""
    name: str = json.loads((folder / MODEL).read_text("utf-8"))["model_version"]
    return name


def names_in_use(registry: ModelRegistry) -> set[str]:
    """Model versions that serve, or that the next rollback returns to."""
    return {name_of(registry.path(version)) for version in _in_use(registry.rollout())}


def upload(connection: Connection, folder: Path, registry: ModelRegistry, bar: Progress) -> bool:
    """Stores the item vectors of the version in `folder`; those of other versions that serve stay as they are.

    False: the live collection has vectors of another text model than the version was trained with. The version's map
    cannot read them, and products that it does not know are left without an item vector. Idempotent. Raises NoRoom if
    all versions that retrieval holds are in use.
    """
    name = name_of(folder)
    total = len(json.loads((folder / ITEMS).read_text("utf-8")))
    with connection.stub() as stub, bar.stage("Storing item vectors", total=total) as stage:
        if is_complete(stub, connection, name):
            stage.update(total)
            return True
        make_room(stub, connection, name, names_in_use(registry))
        live = call(stub.DescribeCollections, gateway_pb2.DescribeCollectionsRequest(), connection).live.model_version
        call(stub.BeginItemVectors, begin_message(folder, live), connection)
        done = 0
        for message in store_messages(folder):
            call(stub.StoreItemVectors, message, connection)
            stage.update(done := done + len(message.ids))
    return has_map_for(folder, live)


def is_complete(stub: gateway_pb2_grpc.GatewayServiceStub, connection: Connection, name: str) -> bool:
    described = call(stub.DescribeItemVectors, gateway_pb2.DescribeItemVectorsRequest(), connection)
    return any(version.model_version == name and version.is_complete for version in described.versions)


def make_room(stub: gateway_pb2_grpc.GatewayServiceStub, connection: Connection, name: str, needed: set[str]) -> None:
    """Drops the oldest version that is not needed, if there is no room for `name`. Raises NoRoom."""
    described = call(stub.DescribeItemVectors, gateway_pb2.DescribeItemVectorsRequest(), connection)
    held = [version.model_version for version in described.versions]
    if name in held or len(held) < MOST_VERSIONS:
        return
    spare = next((one for one in held if one not in needed), None)
    if spare is None:
        raise NoRoom(
            f"retrieval holds {len(held)} versions of item vectors, and all are in use: wait until the trial has "
            "ended, or end it with `kairos models rollback --kind shopper`"
        )
    call(stub.DropItemVectors, gateway_pb2.DropItemVectorsRequest(model_version=spare), connection)


def publish(registry: ModelRegistry, folder: Path, name: str, manifest: Mapping[str, Any]) -> str:
    """Adds the version with the model version `name`, and gives its name in the registry.

    A version that was published before keeps its name.
    """
    for version in reversed(registry.versions()):
        if registry.manifest(version).get("model_version") == name:
            return version
    return registry.publish(lambda target: copy_files(folder, target), {**manifest, "model_version": name})


def copy_files(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        into = target / path.relative_to(source)
        if path.is_dir():
            into.mkdir(exist_ok=True)
        else:
            into.write_bytes(path.read_bytes())


def _in_use(rollout: Rollout) -> set[str]:
    return {rollout.current, rollout.other or "", *rollout.before[-1:]} - {""}
