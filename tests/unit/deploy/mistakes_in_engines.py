"""Slips in what Ray, Serve, Redis, Qdrant and the collector are told."""

from __future__ import annotations

from deploy.checks.build import Object
from tests.unit.deploy.planting import Mistake, edit_file, edit_serve, find, stage, variables, worker

# Ray and Serve.


def unknown_ray_parameter(objects: list[Object]) -> None:
    worker(objects, "ranker")["rayStartParams"]["num-cpu"] = "1"


def other_ray(objects: list[Object]) -> None:
    stage(objects, "ranker")["rayClusterConfig"]["rayVersion"] = "2.59.0"


def replicas_on_the_head(objects: list[Object]) -> None:
    stage(objects, "ranker")["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = "1"


def wrong_ray_port(objects: list[Object]) -> None:
    ports = worker(objects, "ranker")["template"]["spec"]["containers"][0]["ports"]
    next(port for port in ports if port["name"] == "metrics")["containerPort"] = 8081


def unknown_deployment(objects: list[Object]) -> None:
    edit_serve(objects, "ranker", lambda c: c["applications"][0]["deployments"][0].update(name="Ranker"))


def import_of_another(objects: list[Object]) -> None:
    edit_serve(objects, "ranker", lambda c: c["applications"][0].update(import_path="services.pricing.app:build"))


def prefix_of_another(objects: list[Object]) -> None:
    edit_serve(objects, "ranker", lambda c: c["applications"][0].update(route_prefix="/pricing"))


def serve_key_twice(objects: list[Object]) -> None:
    spec = stage(objects, "ranker")
    spec["serveConfigV2"] += "\nproxy_location: EveryNode\n"


def servicer_of_another(objects: list[Object]) -> None:
    name = "services.common.direct_ingress.add_pricing"
    edit_serve(objects, "ranker", lambda c: c["grpc_options"]["grpc_servicer_functions"].append(name))


def flag_without_a_number(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "kairos-ray")["data"]["RAY_SERVE_HAPROXY_NBTHREAD"] = "one"


def flag_forgotten(objects: list[Object]) -> None:
    del find(objects, "ConfigMap", "kairos-ray")["data"]["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"]


# Files within config maps.


def misspelt_directive_of_redis(objects: list[Object]) -> None:
    edit_file(objects, "kairos-redis", "redis.conf", "appendonly", "apendonly")


def redis_that_forgets(objects: list[Object]) -> None:
    edit_file(objects, "kairos-redis", "redis.conf", "dir /data", "dir /tmp")


def misspelt_key_of_the_collector(objects: list[Object]) -> None:
    edit_file(objects, "kairos-otel-collector", "config.yaml", "check_interval", "check_intervall")


def unknown_exporter(objects: list[Object]) -> None:
    edit_file(objects, "kairos-otel-collector", "config.yaml", "exporters: [debug]", "exporters: [otlp]")


def collector_on_another_port(objects: list[Object]) -> None:
    edit_file(objects, "kairos-otel-collector", "config.yaml", "0.0.0.0:4317", "0.0.0.0:4318")


def unknown_setting_of_qdrant(objects: list[Object]) -> None:
    data = variables(objects, "kairos-qdrant")
    data["QDRANT__SERVICE__ENABLE_TSL"] = data.pop("QDRANT__SERVICE__ENABLE_TLS")


IN_ENGINES: dict[Mistake, str] = {
    unknown_ray_parameter: "RayService/kairos-ranker: workers: `ray start` has no --num-cpu",
    other_ray: "RayService/kairos-ranker: rayVersion is 2.59.0",
    replicas_on_the_head: "RayService/kairos-ranker: head: num-cpus must be 0",
    wrong_ray_port: "RayService/kairos-ranker workers: port metrics is 8081",
    unknown_deployment: "RayService/kairos-ranker: .*makes no deployment Ranker",
    import_of_another: "RayService/kairos-ranker: .*services.pricing.app:build makes no deployment ranker",
    prefix_of_another: "RayService/kairos-ranker: .*route_prefix is /pricing",
    serve_key_twice: "RayService/kairos-ranker: serveConfigV2: .*proxy_location comes twice",
    servicer_of_another: "RayService/kairos-ranker: .*add_pricing is for an application that is not here",
    flag_without_a_number: "RayService/kairos-ranker .*RAY_SERVE_HAPROXY_NBTHREAD is one",
    flag_forgotten: "RayService/kairos-ranker .*RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S is not set",
    misspelt_directive_of_redis: "StatefulSet/kairos-redis: redis.conf apendonly",
    redis_that_forgets: "StatefulSet/kairos-redis: redis.conf: /tmp is on no disk",
    misspelt_key_of_the_collector: "Deployment/kairos-otel-collector: config.yaml .*check_intervall",
    unknown_exporter: "Deployment/kairos-otel-collector: config.yaml: .*'otlp'",
    collector_on_another_port: "Deployment/kairos-otel-collector: port otlp-grpc is 4317, config.yaml says 4318",
    unknown_setting_of_qdrant: "StatefulSet/kairos-qdrant: variable QDRANT__SERVICE__ENABLE_TSL",
}
