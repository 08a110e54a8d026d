"""host:port in settings and options: a Service of the overlay has the port, and its pods speak the caller's protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.checks.build import Overlay, Pod, Problem, name_of

# KubeRay's own Service of a RayService.
SERVE_SUFFIX = "-serve-svc"
# The names of the ports that a URL's scheme may lead to; without a scheme it is gRPC, or Ray's Redis.
_PROTOCOLS = {
    "http": {"http"}, "https": {"http"}, "redis": {"redis"}, "rediss": {"redis"},
    "": {"serve-grpc", "otlp-grpc", "redis"},
}  # fmt: skip
_ADDRESS = re.compile(r"^(?:([A-Za-z]*)://)?(?:[^/@]*@)?([^:/@]*):([^:/@]*)(?:/.*)?$")
_IS_ADDRESS = re.compile(r"^(KAIROS|QDRANT)_.*(URL|TARGET|ENDPOINT|ADDRESS)$")


@dataclass(frozen=True)
class Address:
    """`name`: the variable or field of `pod` that holds it."""

    pod: Pod
    name: str
    value: str


@dataclass(frozen=True)
class Listeners:
    """What is behind a Service: its ports by their names, and its pods."""

    ports: dict[str, int]
    pods: list[Pod]

    def port_name(self, port: str) -> str | None:
        return next((name for name, number in self.ports.items() if str(number) == port), None)


def address_problems(overlay: Overlay) -> Iterator[Problem]:
    services = _services(overlay)
    for address in _addresses(overlay):
        where, found = f"{address.pod.owner}: {address.name}", _ADDRESS.match(address.value)
        if found is None:
            yield Problem(where, f"is {address.value}, which names no host with its port")
            continue
        scheme, host, port = found[1] or "", found[2], found[3]
        if scheme not in _PROTOCOLS:
            yield Problem(where, f"has the unknown scheme {scheme}")
        elif (service := services.get(host.partition(".")[0])) is None:
            # A host with a domain may be outside the cluster.
            yield Problem(where, f"names {host}, and there is no such service", own="." in host)
        elif (name := service.port_name(port)) is None:
            yield Problem(where, f"names port {port} of {host}, which has {sorted(service.ports.values())}")
        elif name not in _PROTOCOLS[scheme]:
            yield Problem(where, f"names port {name} of {host}, where another protocol is spoken")


def connections_of(overlay: Overlay) -> Iterator[tuple[Pod, Pod, int]]:
    """(the pod that has an address, a pod behind the address, its port). Addresses that lead nowhere are left out."""
    services = _services(overlay)
    for address in _addresses(overlay):
        found = _ADDRESS.match(address.value)
        if found and (service := services.get(found[2].partition(".")[0])):
            # Qdrant's client asks one port for the other and searches through that one.
            names = [service.port_name(found[3]), *(["grpc"] if address.name.endswith("SERVER__URL") else [])]
            for pod in service.pods:
                yield from ((address.pod, pod, pod.ports[name]) for name in names if name in pod.ports)


def _addresses(overlay: Overlay) -> Iterator[Address]:
    for pod in overlay.pods:
        for container in pod.all_containers:
            for name, value in overlay.environment(container).items():
                if _IS_ADDRESS.search(name) and value:
                    yield Address(pod, name, value)
    for item in overlay.of_kind("RayService"):
        if options := item["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions"):
            for pod in (pod for pod in overlay.pods if pod.owner.startswith(f"{name_of(item)} ")):
                yield Address(pod, "redisAddress", options["redisAddress"])


def _services(overlay: Overlay) -> dict[str, Listeners]:
    """By name, with the one that KubeRay makes for each RayService."""
    found = {}
    for item in overlay.of_kind("Service"):
        ports = {port.get("name", ""): port["port"] for port in item["spec"].get("ports", [])}
        found[item["metadata"]["name"]] = Listeners(ports, overlay.pods_behind(item))
    for name, config in overlay.serve_configs.items():
        ports = {"serve": config.http_options.port, "serve-grpc": config.grpc_options.port}
        found[f"{name}{SERVE_SUFFIX}"] = Listeners(ports, [pod for pod in overlay.pods if pod.name == name])
    return found
