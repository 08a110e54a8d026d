"""host:port in settings and options: a Service of the overlay has the port, and its protocol is the caller's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.checks.build import Overlay, Pod, Problem, name_of

# The names of the ports that a URL's scheme may lead to; without a scheme it is gRPC, or Ray's Redis.
_PROTOCOLS = {
    "http": {"http"}, "https": {"http"}, "redis": {"redis"}, "rediss": {"redis"}, "postgresql": {"postgres"},
    "postgresql+psycopg": {"postgres"},
    "": {"grpc", "serve-grpc", "otlp-grpc", "redis"},
}  # fmt: skip
_ADDRESS = re.compile(r"^(?:([A-Za-z+]*)://)?(?:[^/@]*@)?([^:/@]*):([^:/@]*)(?:/.*)?$")
_IS_ADDRESS = re.compile(r"^((KAIROS|QDRANT|POSTGRES)_.*(URL|TARGET|ENDPOINT|ADDRESS)|REDIS_ADDR)$")

# An object store is outside of the cluster.
_OUTSIDE = {f"KAIROS_{stage}_REGISTRY_URL" for stage in ("RANKER", "QUERY_ENCODER", "RETRIEVAL")} | {
    "KAIROS_CONTROL_AUDIT__ARCHIVE_URL"
}


@dataclass(frozen=True)
class Listeners:
    """What is behind a Service: its ports by their names, and its pods."""

    ports: dict[str, int]
    pods: list[Pod]

    def port_name(self, port: str) -> str | None:
        return next((name for name, number in self.ports.items() if str(number) == port), None)


def address_problems(overlay: Overlay) -> Iterator[Problem]:
    services = _services(overlay)
    for pod, variable, address in _addresses(overlay):
        where = f"{pod.owner}: {variable}"
        if (parts := _parts(address)) is None:
            yield Problem(where, f"is {address}, which names no host with its port")
            continue
        scheme, host, port = parts
        if scheme not in _PROTOCOLS:
            yield Problem(where, f"has the unknown scheme {scheme}")
        elif (service := services.get(host.partition(".")[0])) is None:
            # A host with a domain may be outside the cluster.
            yield Problem(where, f"names {host}, and there is no such service", own="." in host)
        elif (name := service.port_name(port)) is None:
            yield Problem(where, f"names port {port} of {host}, which has {sorted(service.ports.values())}")
        elif name not in _PROTOCOLS[scheme]:
            yield Problem(where, f"names port {name} of {host}, where another protocol is spoken")


def connections_of(overlay: Overlay) -> Iterator[tuple[Pod, str, Pod, int]]:
    """(the pod that has an address, its variable, a pod behind the address, the port)."""
    services = _services(overlay)
    for source, variable, address in _addresses(overlay):
        _, host, port = _parts(address) or ("", "", "")
        if service := services.get(host.partition(".")[0]):
            # Qdrant's client asks one port for the other and searches through that one.
            names = [service.port_name(port), *(["grpc"] if variable.endswith("SERVER__URL") else [])]
            for pod in service.pods:
                yield from ((source, variable, pod, pod.ports[name]) for name in names if name in pod.ports)


def _parts(address: str) -> tuple[str, str, str] | None:
    """(scheme, host, port)."""
    found = _ADDRESS.match(address)
    return (found[1] or "", found[2], found[3]) if found else None


def _addresses(overlay: Overlay) -> Iterator[tuple[Pod, str, str]]:
    """(the pod that has it, its variable or field, the address)."""
    for pod in overlay.pods:
        for container in pod.all_containers:
            for name, value in overlay.environment(container).items():
                # Sentinels, and the servers that they name, are outside of the overlay.
                if _IS_ADDRESS.search(name) and value and name not in _OUTSIDE and "+sentinel://" not in value:
                    yield pod, name, value
    for item in overlay.of_kind("RayService"):
        if options := item["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions"):
            pods = (pod for pod in overlay.pods if pod.owner.startswith(f"{name_of(item)} "))
            yield from ((pod, "redisAddress", options["redisAddress"]) for pod in pods)


def _services(overlay: Overlay) -> dict[str, Listeners]:
    """By name, with the one that KubeRay makes for each RayService."""
    found = {}
    for item in overlay.of_kind("Service"):
        ports = {port.get("name", ""): port["port"] for port in item["spec"].get("ports", [])}
        found[item["metadata"]["name"]] = Listeners(ports, overlay.pods_behind(item))
    # KubeRay's own.
    for name, config in overlay.serve_configs.items():
        ports = {"serve": config.http_options.port, "serve-grpc": config.grpc_options.port}
        found[f"{name}-serve-svc"] = Listeners(ports, [pod for pod in overlay.pods if pod.name == name])
    return found
