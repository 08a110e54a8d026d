"""host:port in settings and options: a Service of the overlay that has the port, and speaks what is spoken to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.checks.build import Object, name_of
from deploy.checks.pods import Pod, config_maps_of, environment, pods_of, selects
from deploy.checks.serve_config import serve_config_of

SERVE_SUFFIX = "-serve-svc"
# What each URL's scheme finds behind a port, by the port's name; without a scheme it is gRPC, or Ray's Redis.
_SPOKEN = {
    "http": {"http"}, "https": {"http"}, "redis": {"redis"}, "rediss": {"redis"},
    "": {"serve-grpc", "otlp-grpc", "redis"},
}  # fmt: skip
_ADDRESS = re.compile(r"^(?:([A-Za-z]*)://)?(?:[^/@]*@)?([^:/@]*):([^:/@]*)(?:/.*)?$")
_IS_ADDRESS = re.compile(r"(URL|TARGET|ENDPOINT|ADDRESS)$")


@dataclass(frozen=True)
class Address:
    """`name` is the variable or field that holds it."""

    pod: Pod
    name: str
    value: str


@dataclass(frozen=True)
class _Service:
    ports: dict[str, int]
    pods: tuple[Pod, ...]

    def name_of(self, number: int) -> str | None:
        return next((name for name, port in self.ports.items() if port == number), None)


def address_problems(objects: list[Object]) -> Iterator[str]:
    services = _services(objects)
    for address in _addresses(objects):
        found = _ADDRESS.match(address.value)
        where = f"{address.pod.owner}: {address.name}"
        if found is None:
            yield f"{where} is {address.value}, which names no host with its port"
            continue
        scheme, host, port = found[1] or "", found[2], found[3]
        if scheme not in _SPOKEN:
            yield f"{where} has the unknown scheme {scheme}"
        elif host not in services:
            yield f"{where} names {host}, and there is no such service"
        elif not port.isdecimal() or (name := services[host].name_of(int(port))) is None:
            yield f"{where} names port {port} of {host}, which has {sorted(services[host].ports.values())}"
        elif name not in _SPOKEN[scheme]:
            yield f"{where} names port {name} of {host}, where something else is spoken"


def addresses_of(objects: list[Object]) -> Iterator[tuple[Pod, Pod, int]]:
    """(who opens a connection, the pod behind the address, its port). What leads nowhere is left out."""
    services = _services(objects)
    for address in _addresses(objects):
        if (found := _ADDRESS.match(address.value)) and found[2] in services and found[3].isdecimal():
            service = services[found[2]]
            # Qdrant's client asks the one port and searches through the other.
            names = [service.name_of(int(found[3]))] + (["grpc"] if address.name.endswith("SERVER__URL") else [])
            for pod in service.pods:
                yield from ((address.pod, pod, pod.ports[name]) for name in names if name in pod.ports)


def _addresses(objects: list[Object]) -> Iterator[Address]:
    config_maps = config_maps_of(objects)
    for pod in pods_of(objects):
        for container in pod.all_containers:
            for name, value in environment(container, config_maps).items():
                if _IS_ADDRESS.search(name) and value is not None:
                    yield Address(pod, name, value)
    for item in (o for o in objects if o["kind"] == "RayService"):
        if options := item["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions"):
            for pod in pods_of([item]):
                yield Address(pod, "redisAddress", options["redisAddress"])


def _services(objects: list[Object]) -> dict[str, _Service]:
    """By name. KubeRay makes one for each RayService, to its pods' Serve."""
    pods, found = pods_of(objects), {}
    for item in (o for o in objects if o["kind"] == "Service"):
        ports = {port["name"]: port["port"] for port in item["spec"]["ports"]}
        behind = tuple(pod for pod in pods if selects({"matchLabels": item["spec"]["selector"]}, pod.labels))
        found[item["metadata"]["name"]] = _Service(ports, behind)
    for item in (o for o in objects if o["kind"] == "RayService"):
        config = serve_config_of(item)
        ports = {"serve": config.http_options.port, "serve-grpc": config.grpc_options.port}
        behind = tuple(pod for pod in pods if pod.owner.startswith(f"{name_of(item)} "))
        found[f"{item['metadata']['name']}{SERVE_SUFFIX}"] = _Service(ports, behind)
    return found
