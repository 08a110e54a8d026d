"""The manifests of deploy/k8s: every overlay holds, and a slip of each kind is found and named."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from deploy.checks.build import OPTIONS, OVERLAYS, Object, copied, files_of
from deploy.checks.checking import problems_of, problems_of_files, problems_over

Overlays = dict[str, list[Object]]


def find(objects: list[Object], kind: str, name: str) -> Any:
    """The object itself, to be changed. Generated config maps bear a digest behind their name."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].startswith(name)]
    assert len(found) == 1, [o["metadata"]["name"] for o in found]
    return found[0]


def gateway(objects: list[Object]) -> Any:
    return find(objects, "Deployment", "kairos-gateway")["spec"]["template"]["spec"]["containers"][0]


def stage(objects: list[Object], name: str) -> Any:
    return find(objects, "RayService", f"kairos-{name}")["spec"]


def worker(objects: list[Object], name: str) -> Any:
    return stage(objects, name)["rayClusterConfig"]["workerGroupSpecs"][0]


def edit_serve(objects: list[Object], name: str, change: Callable[[Any], None]) -> None:
    spec = stage(objects, name)
    config = yaml.safe_load(spec["serveConfigV2"])
    change(config)
    spec["serveConfigV2"] = yaml.safe_dump(config)


@pytest.mark.parametrize("overlay", [*OVERLAYS, OPTIONS])
def test_overlay_holds(overlay: str, overlays: Overlays, secrets: list[Object]) -> None:
    """An overlay builds; each object holds to its schema, and what one names the others and the code have."""
    assert problems_of(overlays[overlay], secrets) == []


def test_overlays_hold_together(overlays: Overlays, secrets: list[Object]) -> None:
    """Every network policy, every peer in one and every key of a secret is for something in some overlay."""
    assert problems_over(overlays, secrets) == []


def test_files_hold() -> None:
    """The Dockerfiles and Prometheus's own configuration are without a slip."""
    assert problems_of_files() == []


def test_every_component_is_checked() -> None:
    """Each component is in `production` with all its options, or is brought by one that is, or by another overlay."""
    with copied() as deploy:
        used = {path for overlay in (*OVERLAYS, OPTIONS) for path in files_of(deploy / "k8s" / "overlays" / overlay)}
        components = {path.resolve() for path in (deploy / "k8s" / "components").glob("*/kustomization.yaml")}
        assert components <= {path.resolve() for path in used}


def labels(template: Any) -> Any:
    return template["metadata"]["labels"]


def policy(objects: list[Object], name: str) -> Any:
    return next(o for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == name)["spec"]


def variables(objects: list[Object], name: str) -> Any:
    (found,) = (o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"][:-11] == name)
    return found["data"]


def pod(objects: list[Object], kind: str, name: str) -> Any:
    found = next(o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)["spec"]
    return found["jobTemplate"]["spec"]["template"] if kind == "CronJob" else found["template"]


def edit_file(objects: list[Object], name: str, file: str, old: str, new: str) -> None:
    """Of a config map."""
    data = find(objects, "ConfigMap", name)["data"]
    assert old in data[file]
    data[file] = data[file].replace(old, new)


Mistake = Callable[[list[Object]], Any]


def misspelt_field(objects: list[Object]) -> None:
    gateway(objects)["readinesProbe"] = gateway(objects).pop("readinessProbe")


def misspelt_ray_field(objects: list[Object]) -> None:
    cluster = stage(objects, "ranker")["rayClusterConfig"]
    cluster["enableInTreeAutoScaling"] = cluster.pop("enableInTreeAutoscaling")


def misspelt_field_in_a_ray_pod(objects: list[Object]) -> None:
    worker(objects, "ranker")["template"]["spec"]["containers"][0]["resources"]["limit"] = {"memory": "1Gi"}


def number_for_a_word(objects: list[Object]) -> None:
    worker(objects, "ranker")["rayStartParams"]["num-cpus"] = 1


def unknown_serve_key(objects: list[Object]) -> None:
    edit_serve(objects, "ranker", lambda c: c["applications"][0]["deployments"][0].update(max_ongoing_request=64))


def wrong_service_port(objects: list[Object]) -> None:
    find(objects, "Service", "kairos-gateway")["spec"]["ports"][0]["targetPort"] = "gprc"


def wrong_container_port(objects: list[Object]) -> None:
    gateway(objects)["ports"][0]["containerPort"] = 50051


def wrong_serve_port(objects: list[Object]) -> None:
    edit_serve(objects, "retrieval", lambda c: c["grpc_options"].update(port=9001))


def wrong_probe_port(objects: list[Object]) -> None:
    gateway(objects)["livenessProbe"] = {"httpGet": {"path": "/", "port": 9465}}


def wrong_policy_port(objects: list[Object]) -> None:
    find(objects, "NetworkPolicy", "stages-from-gateway")["spec"]["ingress"][0]["ports"] = [{"port": "serve_grpc"}]


def wrong_monitor_port(objects: list[Object]) -> None:
    find(objects, "ServiceMonitor", "kairos-gateway")["spec"]["endpoints"][0]["port"] = "metric"


def misspelt_rule(objects: list[Object]) -> None:
    rule = find(objects, "PrometheusRule", "kairos")["spec"]["groups"][0]["rules"][0]
    rule["expression"] = rule.pop("expr")


def missing_secret(objects: list[Object]) -> None:
    volumes = find(objects, "StatefulSet", "kairos-qdrant")["spec"]["template"]["spec"]["volumes"]
    next(v for v in volumes if v["name"] == "tls")["secret"]["secretName"] = "kairos-qdrant-cert"


def missing_secret_key(objects: list[Object]) -> None:
    options = stage(objects, "ranker")["rayClusterConfig"]["gcsFaultToleranceOptions"]
    options["redisPassword"]["valueFrom"]["secretKeyRef"]["key"] = "pass"


def missing_config_map(objects: list[Object]) -> None:
    objects.remove(find(objects, "ConfigMap", "kairos-redis"))


def missing_disk(objects: list[Object]) -> None:
    objects.remove(find(objects, "PersistentVolumeClaim", "kairos-pricing"))


def missing_volume(objects: list[Object]) -> None:
    del worker(objects, "ranker")["template"]["spec"]["volumes"][1]


def wrong_target(objects: list[Object]) -> None:
    settings = find(objects, "ConfigMap", "kairos-gateway")["data"]
    settings["KAIROS_GATEWAY_STAGES__RANKER__TARGET"] = "kairos-pricing-serve-svc:9000"


def unknown_host(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "kairos-retrieval")["data"]["KAIROS_RETRIEVAL_SERVER__URL"] = "https://kairos-qdrnt:6333"


def wrong_port_in_a_url(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "kairos-retrieval-")["data"]["KAIROS_RETRIEVAL_SERVER__URL"] = (
        "https://kairos-qdrant:6335"
    )


def unknown_setting(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "kairos-ranker")["data"]["KAIROS_RANKER_EXPLORE"] = "0.2"


def setting_of_nobody(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "kairos-ranker")["data"]["KAIROS_RANKING_STORE"] = "redis"


def impossible_value(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "kairos-ranker")["data"]["KAIROS_RANKER_EXPLORATION"] = "2"


def flag_missing_on_workers(objects: list[Object]) -> None:
    worker(objects, "ranker")["template"]["spec"]["containers"][0]["envFrom"].pop(0)


def unknown_flag(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "kairos-ray")["data"]["RAY_SERVE_HAPROXY_THREADS"] = "1"


def unknown_application(objects: list[Object]) -> None:
    edit_serve(objects, "ranker", lambda c: c["applications"][0].update(name="ranking"))


def unknown_import(objects: list[Object]) -> None:
    edit_serve(objects, "ranker", lambda c: c["applications"][0].update(import_path="services.ranker.apps:build"))


def wrong_servicer(objects: list[Object]) -> None:
    names = ["services.common.direct_ingress.add_pricing"]
    edit_serve(objects, "ranker", lambda c: c["grpc_options"].update(grpc_servicer_functions=names))


def wrong_image(objects: list[Object]) -> None:
    worker(objects, "retrieval")["template"]["spec"]["containers"][0]["image"] = "kairos/ranker:0.1.0"


def image_nobody_builds(objects: list[Object]) -> None:
    gateway(objects)["image"] = "kairos/gatway:0.1.0"


def image_without_a_version(objects: list[Object]) -> None:
    find(objects, "StatefulSet", "kairos-redis")["spec"]["template"]["spec"]["containers"][0]["image"] = "redis:latest"


def more_replicas_than_pods(objects: list[Object]) -> None:
    worker(objects, "ranker")["maxReplicas"] = 2


def split_state(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "kairos-ranker")["data"]["KAIROS_RANKER_STORE"] = "sqlite"


def root_again(objects: list[Object]) -> None:
    gateway(objects)["securityContext"]["runAsNonRoot"] = False


def no_probe(objects: list[Object]) -> None:
    del gateway(objects)["livenessProbe"]


def no_memory_limit(objects: list[Object]) -> None:
    del gateway(objects)["resources"]["limits"]


# Words and values that the API server's schemas let pass.


def misspelt_word(objects: list[Object]) -> None:
    policy(objects, "redis")["policyTypes"] = ["Ingres"]


def misspelt_label(objects: list[Object]) -> None:
    template = worker(objects, "ranker")["template"]
    labels(template)["app.kubernetes.io/prt-of"] = labels(template).pop("app.kubernetes.io/part-of")


def no_quantity(objects: list[Object]) -> None:
    gateway(objects)["resources"]["limits"]["memory"] = "1Gii"


def request_above_its_limit(objects: list[Object]) -> None:
    gateway(objects)["resources"]["requests"]["memory"] = "2Gi"


def no_schedule(objects: list[Object]) -> None:
    find(objects, "CronJob", "kairos-qdrant-snapshots")["spec"]["schedule"] = "17 24 * * *"


def variable_without_a_value(objects: list[Object]) -> None:
    gateway(objects)["env"][0].pop("valueFrom")


def port_twice(objects: list[Object]) -> None:
    gateway(objects)["ports"].append({"name": "more", "containerPort": 9464})


def capital_name(objects: list[Object]) -> None:
    gateway(objects)["name"] = "Gateway"


def other_namespace(objects: list[Object]) -> None:
    find(objects, "Deployment", "kairos-gateway")["metadata"]["namespace"] = "kairo"


def no_image(objects: list[Object]) -> None:
    del gateway(objects)["image"]


# Objects that do not find each other, or find the wrong ones.


def selector_of_others(objects: list[Object]) -> None:
    spec = find(objects, "StatefulSet", "kairos-redis")["spec"]
    spec["selector"]["matchLabels"]["app.kubernetes.io/name"] = "kairos-rediss"


def label_of_another(objects: list[Object]) -> None:
    head = stage(objects, "ranker")["rayClusterConfig"]["headGroupSpec"]
    labels(head["template"])["app.kubernetes.io/name"] = "kairos-pricing"


def other_port_on_the_way(objects: list[Object]) -> None:
    find(objects, "Service", "kairos-gateway")["spec"]["ports"][0]["port"] = 50051


def missing_service_of_a_set(objects: list[Object]) -> None:
    find(objects, "StatefulSet", "kairos-qdrant")["spec"]["serviceName"] = "kairos-qdrant-node"


def missing_scaling_target(objects: list[Object]) -> None:
    find(objects, "HorizontalPodAutoscaler", "kairos-gateway")["spec"]["scaleTargetRef"]["name"] = "kairos-gatway"


def scaling_by_nothing(objects: list[Object]) -> None:
    scaler = find(objects, "HorizontalPodAutoscaler", "kairos-gateway")
    scaler["spec"]["metrics"][0]["resource"]["name"] = "cpus"


def budget_that_lets_nobody_go(objects: list[Object]) -> None:
    find(objects, "PodDisruptionBudget", "kairos-ranker")["spec"]["minAvailable"] = 2


def budget_of_another(objects: list[Object]) -> None:
    spec = find(objects, "PodDisruptionBudget", "kairos-ranker")["spec"]
    spec["selector"]["matchLabels"]["app.kubernetes.io/name"] = "kairos-retrieval"


def second_redis(objects: list[Object]) -> None:
    find(objects, "StatefulSet", "kairos-redis")["spec"]["replicas"] = 2


def successor_on_another_node(objects: list[Object]) -> None:
    del worker(objects, "pricing")["template"]["spec"]["affinity"]


def disk_nobody_has(objects: list[Object]) -> None:
    volumes = worker(objects, "pricing")["template"]["spec"]["volumes"]
    next(v for v in volumes if v["name"] == "data").update(emptyDir={}, persistentVolumeClaim=None)
    del next(v for v in volumes if v["name"] == "data")["persistentVolumeClaim"]


def unwatched_stage(objects: list[Object]) -> None:
    find(objects, "PodMonitor", "kairos-stages")["spec"]["selector"]["matchLabels"] = {
        "app.kubernetes.io/name": "kairos-ranker"
    }


def unmounted_volume(objects: list[Object]) -> None:
    gateway(objects)["volumeMounts"].pop()


def idle_config_map(objects: list[Object]) -> None:
    containers = worker(objects, "ranker")["template"]["spec"]["containers"]
    head = stage(objects, "ranker")["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"]
    for container in (containers[0], head[0]):
        container["envFrom"].pop()


def dashboard_without_its_label(objects: list[Object]) -> None:
    del find(objects, "ConfigMap", "kairos-dashboard-shop")["metadata"]["labels"]["grafana_dashboard"]


# Ways that are closed, and ways that are open.


def closed_way_to_an_engine(objects: list[Object]) -> None:
    policy(objects, "to-redis")["egress"][0]["ports"] = [{"port": "grpc"}]


def closed_way_between_stages(objects: list[Object]) -> None:
    policy(objects, "gateway-to-stages")["egress"][0]["to"][0]["podSelector"]["matchLabels"] = {
        "app.kubernetes.io/component": "stages"
    }


def closed_to_prometheus(objects: list[Object]) -> None:
    policy(objects, "prometheus")["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"] = {
        "kubernetes.io/metadata.name": "monitor"
    }


def closed_to_the_operator(objects: list[Object]) -> None:
    policy(objects, "operator-to-heads")["ingress"][0]["ports"] = [{"port": "gcs-server"}]


def closed_to_the_bucket(objects: list[Object]) -> None:
    policy(objects, "qdrant")["egress"][0]["ports"] = [{"port": 444}]


def open_pickles(objects: list[Object]) -> None:
    del policy(objects, "ray-of-ranker")["ingress"][0]["from"]


def everything_open(objects: list[Object]) -> None:
    objects.remove(next(o for o in objects if o["metadata"]["name"] == "closed"))


def no_token(objects: list[Object]) -> None:
    del stage(objects, "ranker")["rayClusterConfig"]["authOptions"]


# Variables, addresses, paths.


def variable_nobody_reads(objects: list[Object]) -> None:
    variables(objects, "kairos-retrieval")["SSL_CERTFILE"] = "/etc/kairos/qdrant/ca.crt"


def variable_set_too_late(objects: list[Object]) -> None:
    worker(objects, "ranker")["template"]["spec"]["containers"][0]["env"].reverse()


def variable_the_script_misses(objects: list[Object]) -> None:
    pod(objects, "CronJob", "kairos-qdrant-snapshots")["spec"]["containers"][0]["env"][0]["name"] = "QDRANT_ADDRESS"


def missing_authority(objects: list[Object]) -> None:
    del variables(objects, "kairos-retrieval")["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"]


def path_to_nowhere(objects: list[Object]) -> None:
    variables(objects, "kairos-gateway")["KAIROS_GATEWAY_SECURITY__CERTIFICATE"] = "/etc/kairos/tsl/tls.crt"


def file_that_is_not_in_the_secret(objects: list[Object]) -> None:
    variables(objects, "kairos-gateway")["KAIROS_GATEWAY_SECURITY__KEY"] = "/etc/kairos/tls/key.pem"


def file_nobody_reads(objects: list[Object]) -> None:
    del variables(objects, "kairos-gateway")["KAIROS_GATEWAY_CONFIG"]


def state_in_the_image(objects: list[Object]) -> None:
    del variables(objects, "kairos-pricing")["KAIROS_PRICING_DATA_DIR"]


def settings_of_another(objects: list[Object]) -> None:
    worker(objects, "ranker")["template"]["spec"]["containers"][0]["envFrom"][1]["configMapRef"]["name"] = find(
        objects, "ConfigMap", "kairos-pricing-"
    )["metadata"]["name"]


def model_that_is_not_in_the_image(objects: list[Object]) -> None:
    variables(objects, "kairos-query-encoder")["KAIROS_QUERY_ENCODER_MODEL_DIR"] = "/opt/kairos/embeded"


def port_of_another_protocol(objects: list[Object]) -> None:
    variables(objects, "kairos-gateway")["KAIROS_GATEWAY_STAGES__RANKER__TARGET"] = "kairos-ranker-serve-svc:8000"


def unknown_scheme(objects: list[Object]) -> None:
    variables(objects, "kairos-retrieval")["KAIROS_RETRIEVAL_SERVER__URL"] = "htps://kairos-qdrant:6333"


def wrong_address_of_rays_redis(objects: list[Object]) -> None:
    stage(objects, "ranker")["rayClusterConfig"]["gcsFaultToleranceOptions"]["redisAddress"] = "kairos-redis:6380"


def stage_without_traces(objects: list[Object]) -> None:
    del variables(objects, "kairos-pricing")["KAIROS_PRICING_TELEMETRY__OTLP_ENDPOINT"]


# Probes, images, programs.


def unknown_health_path(objects: list[Object]) -> None:
    container = worker(objects, "ranker")["template"]["spec"]["containers"][0]
    container["readinessProbe"]["httpGet"]["path"] = "/-/health"


def grpc_probe_with_tls(objects: list[Object]) -> None:
    gateway(objects)["livenessProbe"] = {"grpc": {"port": 50050}}


def killed_while_it_drains(objects: list[Object]) -> None:
    find(objects, "Deployment", "kairos-gateway")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 10


def strange_image(objects: list[Object]) -> None:
    pod(objects, "StatefulSet", "kairos-redis")["spec"]["containers"][0]["image"] = "reddis:8.2.1-bookworm"


def image_of_another_release(objects: list[Object]) -> None:
    gateway(objects)["image"] = "kairos/gateway:0.2.0"


def server_that_its_client_does_not_know(objects: list[Object]) -> None:
    container = pod(objects, "StatefulSet", "kairos-qdrant")["spec"]["containers"][0]
    container["image"] = "qdrant/qdrant:v1.10.0-unprivileged"


def image_of_another_service(objects: list[Object]) -> None:
    gateway(objects)["image"] = "kairos/learner:0.1.0"


def user_the_image_does_not_know(objects: list[Object]) -> None:
    pod(objects, "StatefulSet", "kairos-redis")["spec"]["securityContext"]["runAsUser"] = 998


def unknown_program(objects: list[Object]) -> None:
    pod(objects, "StatefulSet", "kairos-redis")["spec"]["containers"][0]["command"][0] = "redis-sever"


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
    edit_serve(
        objects, "ranker", lambda c: c["applications"][0].update(import_path="services.ranker.pricing.app:build")
    )


def prefix_of_another(objects: list[Object]) -> None:
    edit_serve(objects, "ranker", lambda c: c["applications"][0].update(route_prefix="/pricing"))


def serve_key_twice(objects: list[Object]) -> None:
    spec = stage(objects, "ranker")
    spec["serveConfigV2"] += "\nproxy_location: EveryNode\n"


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


MISTAKES: dict[Mistake, str] = {
    misspelt_field: "Deployment/kairos-gateway: .*readinesProbe",
    misspelt_ray_field: "RayService/kairos-ranker: .*enableInTreeAutoScaling",
    misspelt_field_in_a_ray_pod: "RayService/kairos-ranker: .*limit",
    number_for_a_word: "RayService/kairos-ranker: .*num-cpus",
    unknown_serve_key: "RayService/kairos-ranker: serveConfigV2: .*max_ongoing_request: ",
    wrong_service_port: "Service/kairos-gateway: port grpc leads to gprc",
    wrong_container_port: "Deployment/kairos-gateway: port grpc is 50051",
    wrong_serve_port: "RayService/kairos-retrieval: head: port serve-grpc is 9000, Serve listens on 9001",
    wrong_probe_port: "Deployment/kairos-gateway: the livenessProbe asks port 9465",
    wrong_policy_port: "NetworkPolicy/stages-from-gateway: .*serve_grpc",
    wrong_monitor_port: "ServiceMonitor/kairos-gateway: .*metric",
    misspelt_rule: "PrometheusRule/kairos: .*expr",
    missing_secret: "StatefulSet/kairos-qdrant: there is no secret kairos-qdrant-cert",
    missing_secret_key: "RayService/kairos-ranker: secret kairos-redis has no key pass",
    missing_config_map: "StatefulSet/kairos-redis: there is no config map kairos-redis",
    missing_disk: "RayService/kairos-pricing workers: there is no disk kairos-pricing",
    missing_volume: "RayService/kairos-ranker workers: ray-worker mounts data",
    wrong_target: "Deployment/kairos-gateway: ranker is looked for at kairos-pricing-serve-svc",
    unknown_host: "RayService/kairos-retrieval .*kairos-qdrnt",
    wrong_port_in_a_url: "RayService/kairos-retrieval .*port 6335 of kairos-qdrant",
    unknown_setting: "RayService/kairos-ranker .*KAIROS_RANKER_EXPLORE",
    setting_of_nobody: "RayService/kairos-ranker .*KAIROS_RANKING_STORE is a setting of no service",
    impossible_value: "RayService/kairos-ranker .*KAIROS_RANKER_EXPLORATION",
    flag_missing_on_workers: "RayService/kairos-ranker workers: RAY_SERVE_THROUGHPUT_OPTIMIZED is None",
    unknown_flag: "RayService/kairos-ranker .*RAY_SERVE_HAPROXY_THREADS",
    unknown_application: "RayService/kairos-ranker: the gateway calls no application ranking",
    unknown_import: "RayService/kairos-ranker: application ranker: there is no services.ranker.apps:build",
    wrong_servicer: "RayService/kairos-ranker: .*lacks services.common.direct_ingress.add_ranker",
    wrong_image: "RayService/kairos-retrieval: workers: kairos/ranker:0.1.0 is built without",
    image_nobody_builds: "Deployment/kairos-gateway: image kairos/gatway:0.1.0 has no deploy/docker/gatway.Dockerfile",
    image_without_a_version: "StatefulSet/kairos-redis: image redis:latest has no version",
    more_replicas_than_pods: "RayService/kairos-ranker: workers: maximal replicas need 16 CPUs",
    split_state: "RayService/kairos-ranker: the profiles' SQLite is one pod's",
    root_again: "Deployment/kairos-gateway: gateway must be one that runs as non-root",
    no_probe: "Deployment/kairos-gateway: gateway must be one that has probes",
    no_memory_limit: "Deployment/kairos-gateway: gateway must be one that has a memory limit",
    misspelt_word: "NetworkPolicy/redis: spec.policyTypes is Ingres",
    misspelt_label: "RayService/kairos-ranker: .*nobody knows the label app.kubernetes.io/prt-of",
    no_quantity: "Deployment/kairos-gateway: .*memory is 1Gii",
    request_above_its_limit: "Deployment/kairos-gateway: .*asks for 2Gi memory",
    no_schedule: "CronJob/kairos-qdrant-snapshots: schedule '17 24",
    variable_without_a_value: "Deployment/kairos-gateway: .*env.0 has not one of value, valueFrom",
    port_twice: "Deployment/kairos-gateway: .*port 9464 is there twice",
    capital_name: "Deployment/kairos-gateway: .*name is Gateway",
    other_namespace: "Deployment/kairos-gateway is in the namespace kairo,",
    no_image: "Deployment/kairos-gateway: .*image is missing",
    selector_of_others: "StatefulSet/kairos-redis: its selector",
    label_of_another: "RayService/kairos-ranker head: its label app.kubernetes.io/name is kairos-pricing",
    other_port_on_the_way: "Service/kairos-gateway: port grpc 50051 is 50050",
    missing_service_of_a_set: "StatefulSet/kairos-qdrant: serviceName is kairos-qdrant-node,",
    missing_scaling_target: "HorizontalPodAutoscaler/kairos-gateway: there is no Deployment kairos-gatway",
    scaling_by_nothing: "HorizontalPodAutoscaler/kairos-gateway: goes by cpus",
    budget_that_lets_nobody_go: "PodDisruptionBudget/kairos-ranker: .*none could leave",
    budget_of_another: "PodDisruptionBudget/kairos-.*: RayService/kairos-retrieval workers has .* already",
    second_redis: "StatefulSet/kairos-redis: has 2 replicas",
    successor_on_another_node: "RayService/kairos-pricing workers: the disk kairos-pricing",
    disk_nobody_has: "PersistentVolumeClaim/kairos-pricing: no pod has it",
    unwatched_stage: "RayService/kairos-pricing workers: no monitor scrapes it",
    unmounted_volume: "Deployment/kairos-gateway: ",
    idle_config_map: "RayService/kairos-ranker: .*data_dir is var/ranker",
    dashboard_without_its_label: "ConfigMap/kairos-dashboard-shop: .*grafana_dashboard",
    closed_way_to_an_engine: "NetworkPolicy/to-redis: no pod behind it has the port grpc",
    closed_way_between_stages: "Deployment/kairos-gateway may not reach port 9000 of RayService/kairos-ranker",
    closed_to_prometheus: "Prometheus may not reach port 9464 of Deployment/kairos-gateway",
    closed_to_the_operator: "KubeRay's operator may not reach port 8265 of RayService/kairos-ranker head",
    closed_to_the_bucket: "StatefulSet/kairos-qdrant may not reach port 443 of the world",
    open_pickles: "a stranger may reach port 10002 of RayService/kairos-ranker",
    everything_open: "no policy closes the whole namespace",
    no_token: "RayService/kairos-ranker: authOptions.mode must be token",
    variable_nobody_reads: "RayService/kairos-retrieval .*nobody reads the variable SSL_CERTFILE",
    variable_set_too_late: "RayService/kairos-ranker .*KAIROS_REDIS_PASSWORD",
    variable_the_script_misses: "CronJob/kairos-qdrant-snapshots: the script reads QDRANT_URL",
    missing_authority: "RayService/kairos-retrieval: .*without GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    path_to_nowhere: "Deployment/kairos-gateway: .*/etc/kairos/tsl/tls.crt, which is in no volume",
    file_that_is_not_in_the_secret: "Deployment/kairos-gateway: .*there is no key.pem in the volume tls",
    file_nobody_reads: "Deployment/kairos-gateway: nothing in gateway names a file below /etc/kairos/gateway",
    state_in_the_image: "RayService/kairos-pricing: .*data_dir is var/pricing",
    settings_of_another: "RayService/kairos-ranker: .*data_dir is var/ranker",
    model_that_is_not_in_the_image: "RayService/kairos-query-encoder .*/opt/kairos/embeded, which is in no volume",
    port_of_another_protocol: "Deployment/kairos-gateway: .*names port serve of kairos-ranker-serve-svc",
    unknown_scheme: "RayService/kairos-retrieval .*unknown scheme htps",
    wrong_address_of_rays_redis: "RayService/kairos-ranker head: redisAddress names port 6380",
    stage_without_traces: "RayService/kairos-pricing .*KAIROS_PRICING_TELEMETRY__OTLP_ENDPOINT is not set",
    unknown_health_path: "RayService/kairos-ranker workers: .*asks for /-/health,",
    grpc_probe_with_tls: "Deployment/kairos-gateway: with TLS on",
    killed_while_it_drains: "Deployment/kairos-gateway: preStop",
    strange_image: "StatefulSet/kairos-redis: redis runs reddis",
    image_of_another_release: "Deployment/kairos-gateway: .*kairos/gateway:0.2.0, and this is version 0.1.0",
    server_that_its_client_does_not_know: "StatefulSet/kairos-qdrant: .*its client is 1",
    image_of_another_service: "Deployment/kairos-gateway: .*kairos/learner:0.1.0 runs training.learner",
    user_the_image_does_not_know: "StatefulSet/kairos-redis: .*runs as user 998",
    unknown_program: "StatefulSet/kairos-redis: .*calls redis-sever",
    unknown_ray_parameter: "RayService/kairos-ranker: workers: `ray start` has no --num-cpu",
    other_ray: "RayService/kairos-ranker: rayVersion is 2.59.0",
    replicas_on_the_head: "RayService/kairos-ranker: head: num-cpus must be 0",
    wrong_ray_port: "RayService/kairos-ranker workers: port metrics is 8081",
    unknown_deployment: "RayService/kairos-ranker: .*makes no deployment Ranker",
    import_of_another: "RayService/kairos-ranker: .*services.ranker.pricing.app:build makes no deployment ranker",
    prefix_of_another: "RayService/kairos-ranker: .*route_prefix is /pricing",
    serve_key_twice: "RayService/kairos-ranker: serveConfigV2: .*proxy_location comes twice",
    flag_forgotten: "RayService/kairos-ranker .*RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S is not set",
    misspelt_directive_of_redis: "StatefulSet/kairos-redis: redis.conf apendonly",
    redis_that_forgets: "StatefulSet/kairos-redis: redis.conf: /tmp is on no disk",
    misspelt_key_of_the_collector: "Deployment/kairos-otel-collector: config.yaml .*check_intervall",
    unknown_exporter: "Deployment/kairos-otel-collector: config.yaml: .*'otlp'",
    collector_on_another_port: "Deployment/kairos-otel-collector: port otlp-grpc is 4317, config.yaml says 4318",
    unknown_setting_of_qdrant: "StatefulSet/kairos-qdrant: variable QDRANT__SERVICE__ENABLE_TSL",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_planted_mistake_is_named(mistake: Mistake, overlays: Overlays, secrets: list[Object]) -> None:
    """A slip in the production overlay is found, and the object and the field that have it are named."""
    objects = copy.deepcopy(overlays["production"])
    mistake(objects)
    problems = problems_of(objects, secrets)
    assert any(re.search(MISTAKES[mistake], problem) for problem in problems), problems


def surge_with_one_shard(objects: list[Object]) -> None:
    edit_serve(objects, "retrieval", lambda c: c["applications"][0]["deployments"][0].update(max_surge_percent=100))


def upgrade_with_one_shard(objects: list[Object]) -> None:
    stage(objects, "retrieval")["upgradeStrategy"]["type"] = "NewCluster"


def shared_disk_of_one_node(objects: list[Object]) -> None:
    find(objects, "PersistentVolumeClaim", "kairos-ranker-registry")["spec"]["accessModes"] = ["ReadWriteOnce"]


def second_learner(objects: list[Object]) -> None:
    find(objects, "Deployment", "kairos-learner")["spec"]["strategy"] = {"type": "RollingUpdate"}


def registry_nobody_can_write(objects: list[Object]) -> None:
    mounts = pod(objects, "Deployment", "kairos-learner")["spec"]["containers"][0]["volumeMounts"]
    next(mount for mount in mounts if mount["name"] == "registry")["readOnly"] = True


def gpu_backend_without_torch(objects: list[Object]) -> None:
    container = worker(objects, "query-encoder")["template"]["spec"]["containers"][0]
    container["image"] = "kairos/query-encoder:0.1.0"


def no_gpu(objects: list[Object]) -> None:
    del worker(objects, "query-encoder")["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]


def intolerant_of_gpus(objects: list[Object]) -> None:
    del worker(objects, "query-encoder")["template"]["spec"]["tolerations"]


def model_that_is_not_copied(objects: list[Object]) -> None:
    variables(objects, "kairos-query-encoder")["KAIROS_QUERY_ENCODER_MODEL_DIR"] = "/models/encodr"


def unknown_rpc(objects: list[Object]) -> None:
    route = find(objects, "GRPCRoute", "kairos")["spec"]["rules"][0]
    route["matches"][0]["method"]["service"] = "kairos.gateway.v1.Gateway"


ELSEWHERE: dict[Mistake, tuple[str, str]] = {
    surge_with_one_shard: ("single-node", "RayService/kairos-retrieval: Qdrant Edge .*max_surge_percent must be 0"),
    upgrade_with_one_shard: ("single-node", "RayService/kairos-retrieval: Qdrant Edge .*a second cluster"),
    shared_disk_of_one_node: (OPTIONS, "share the disk kairos-ranker-registry"),
    second_learner: (OPTIONS, "Deployment/kairos-learner: its successor would start beside it"),
    registry_nobody_can_write: (OPTIONS, "Deployment/kairos-learner: the registry is /registry"),
    gpu_backend_without_torch: (OPTIONS, "RayService/kairos-query-encoder: workers: .*has no torch"),
    no_gpu: (OPTIONS, "RayService/kairos-query-encoder: workers: the device is cuda"),
    intolerant_of_gpus: (OPTIONS, "RayService/kairos-query-encoder workers: asks for a GPU"),
    model_that_is_not_copied: (
        OPTIONS,
        "workers: .*there is no /models/encodr in kairos/models",
    ),
    unknown_rpc: (OPTIONS, "GRPCRoute/kairos: nobody serves kairos.gateway.v1.Gateway"),
}


@pytest.mark.parametrize("mistake", ELSEWHERE, ids=lambda mistake: mistake.__name__)
def test_a_mistake_in_another_overlay_is_named(mistake: Mistake, overlays: Overlays, secrets: list[Object]) -> None:
    """A slip in what `production` does not take, embedded engines and what one may switch on, is found as well."""
    overlay, pattern = ELSEWHERE[mistake]
    objects = copy.deepcopy(overlays[overlay])
    mistake(objects)
    problems = problems_of(objects, secrets)
    assert any(re.search(pattern, problem) for problem in problems), problems


# A file of deploy/, what is changed in it, and what is said of it.
FILES = (
    ("docker/gateway.Dockerfile", '"services.gateway"', '"services.gatway"', "there is no python -m services.gatway"),
    ("docker/ranker.Dockerfile", "EXTRAS=ranker,", "EXTRAS=rankr,", "there is no extra rankr"),
    ("docker/ranker.Dockerfile", "USER 10001:10001", "USER kairos", "not user 10001"),
    ("docker/retrieval.Dockerfile", "--from=build /opt/kairos", "--from=build /opt/karos", "is nearly"),
    ("docker/retrieval.Dockerfile", "WORKDIR /src\n", "", "lacks 'WORKDIR /src'"),
    ("docker/suite.Dockerfile", "@sha256:65a9", "@sha256:65a8", "do not stand on one base"),
    ("docker/suite.Dockerfile", "adapters.onnx_export", "adapters.onnx_exprt", "no module services.query_encoder.ad"),
    ("monitoring/prometheus.yaml", "127.0.0.1:9464", "127.0.0.1:9465", "does not scrape 127.0.0.1:9464"),
    ("monitoring/prometheus.yaml", "rules.yaml", "rule.yaml", "there is no rule.yaml"),
    ("monitoring/prometheus.yaml", "scrape_interval", "scrape_intervall", "scrape_intervall"),
    ("monitoring/kustomization.yaml", "dashboards/ranker.json", "dashboards/rankr.json", "dashboards/ranker.json"),
)  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "pattern"), FILES)
def test_a_mistake_in_a_file_is_named(file: str, old: str, new: str, pattern: str) -> None:
    """A slip in a Dockerfile or in Prometheus's configuration is found, where no cluster would read it."""
    with copied() as deploy:
        text = (deploy / file).read_text()
        assert old in text
        (deploy / file).write_text(text.replace(old, new, 1))
        problems = problems_of_files(deploy)
    assert any(re.search(re.escape(pattern), problem) for problem in problems), problems


def test_a_key_of_a_secret_that_nobody_reads_is_named(overlays: Overlays, secrets: list[Object]) -> None:
    """A key of secrets.example.yaml that no overlay asks for is named: it is mostly a misspelt one."""
    changed = copy.deepcopy(secrets)
    changed[0]["stringData"]["tokn-key"] = "<random>"
    assert "Secret/kairos-gateway: nobody reads tokn-key" in problems_over(overlays, changed)


def test_a_patch_for_nothing_is_named(overlays: Overlays, secrets: list[Object]) -> None:
    """kustomize leaves out a patch whose target is nowhere without a word; it is named."""
    with copied() as deploy:
        file = deploy / "k8s" / "components" / "audit-log" / "kustomization.yaml"
        file.write_text(file.read_text().replace("kairos-pricing}", "kairos-pricer}", 1))
        problems = problems_over(overlays, secrets, deploy)
    assert any(re.search("audit-log/kustomization.yaml: .*kairos-pricer.* is nothing", p) for p in problems), problems


def test_a_slip_in_a_label_is_named(overlays: Overlays, secrets: list[Object]) -> None:
    """A policy that selects nothing any more is named: it would close or open nothing, without a word."""
    changed = copy.deepcopy(overlays)
    for objects in changed.values():
        policy = find(objects, "NetworkPolicy", "to-redis")
        policy["spec"]["podSelector"] = {"matchLabels": {"app.kubernetes.io/componnt": "stage"}}
    problems = problems_over(changed, secrets)
    assert len(problems) == 1
    assert re.search("NetworkPolicy/to-redis: .*componnt", problems[0])
