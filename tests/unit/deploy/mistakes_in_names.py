"""Slips in fields, names and ports that another object or the code has."""

from __future__ import annotations

from deploy.checks.build import Object
from tests.unit.deploy.planting import Mistake, edit_serve, find, gateway, stage, worker


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


def privileged(objects: list[Object]) -> None:
    gateway(objects)["securityContext"]["capabilities"]["add"] = ["NET_ADMIN"]


def no_probe(objects: list[Object]) -> None:
    del gateway(objects)["livenessProbe"]


def no_memory_limit(objects: list[Object]) -> None:
    del gateway(objects)["resources"]["limits"]


IN_NAMES: dict[Mistake, str] = {
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
    privileged: "Deployment/kairos-gateway: gateway must be one that drops all capabilities",
    no_probe: "Deployment/kairos-gateway: gateway must be one that has probes",
    no_memory_limit: "Deployment/kairos-gateway: gateway must be one that has a memory limit",
}
