"""Ways closed and open, variables and paths, probes and images."""

from __future__ import annotations

from deploy.checks.build import Object
from tests.unit.deploy.planting import Mistake, find, gateway, pod, policy, stage, variables, worker

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


def setting_of_another_service(objects: list[Object]) -> None:
    variables(objects, "kairos-gateway")["KAIROS_PRICING_QUOTE_VALID_S"] = "60"


def file_of_a_config_map_nobody_reads(objects: list[Object]) -> None:
    find(objects, "ConfigMap", "kairos-redis")["data"]["users.acl"] = "user default off"


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


def two_ways_to_probe(objects: list[Object]) -> None:
    gateway(objects)["livenessProbe"]["exec"] = {"command": ["true"]}


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


def wrong_way(objects: list[Object]) -> None:
    service = next(o for o in objects if o["kind"] == "Service" and o["metadata"]["name"] == "kairos-ranker")
    service["spec"]["selector"]["app.kubernetes.io/name"] = "kairos-pricing"


def missing_neighbour(objects: list[Object]) -> None:
    affinity = pod(objects, "CronJob", "kairos-backup")["spec"]["affinity"]["podAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    term["labelSelector"]["matchLabels"]["app.kubernetes.io/name"] = "kairos-prices"


def missing_volume_of_a_job(objects: list[Object]) -> None:
    del pod(objects, "CronJob", "kairos-restore")["spec"]["volumes"][1]


def variable_the_shell_misses(objects: list[Object]) -> None:
    env = pod(objects, "CronJob", "kairos-backup")["spec"]["containers"][0]["env"]
    env[0]["name"] = "BUKET"


IN_WAYS: dict[Mistake, str] = {
    closed_way_to_an_engine: "NetworkPolicy/to-redis: no pod behind it has the port grpc",
    closed_way_between_stages: "Deployment/kairos-gateway may not reach port 9000 of RayService/kairos-ranker",
    closed_to_prometheus: "Prometheus may not reach port 9464 of Deployment/kairos-gateway",
    closed_to_the_operator: "KubeRay's operator may not reach port 8265 of RayService/kairos-ranker head",
    closed_to_the_bucket: "StatefulSet/kairos-qdrant may not reach port 443 of the world",
    open_pickles: "a stranger may reach port 10002 of RayService/kairos-ranker",
    everything_open: "no policy closes the whole namespace",
    no_token: "RayService/kairos-ranker: authOptions.mode must be token",
    variable_nobody_reads: "RayService/kairos-retrieval .*nobody reads the variable SSL_CERTFILE",
    setting_of_another_service: "Deployment/kairos-gateway: KAIROS_PRICING_QUOTE_VALID_S is a setting of no service",
    file_of_a_config_map_nobody_reads: "StatefulSet/kairos-redis: nothing in redis names the file users.acl",
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
    two_ways_to_probe: "Deployment/kairos-gateway: gateway livenessProbe asks in no way, or in several",
    grpc_probe_with_tls: "Deployment/kairos-gateway: with TLS on",
    killed_while_it_drains: "Deployment/kairos-gateway: preStop",
    strange_image: "StatefulSet/kairos-redis: redis runs reddis",
    image_of_another_release: "Deployment/kairos-gateway: .*kairos/gateway:0.2.0, and this is version 0.1.0",
    server_that_its_client_does_not_know: "StatefulSet/kairos-qdrant: .*its client is 1",
    image_of_another_service: "Deployment/kairos-gateway: KAIROS_GATEWAY_CONFIG is a setting of no service that runs",
    user_the_image_does_not_know: "StatefulSet/kairos-redis: .*runs as user 998",
    wrong_way: "Service/kairos-ranker",
    missing_neighbour: "CronJob/kairos-backup: must be beside .*kairos-prices",
    missing_volume_of_a_job: "CronJob/kairos-restore: kairos mounts data",
    variable_the_shell_misses: "CronJob/kairos-backup: the script reads BUCKET, which is not set",
    unknown_program: "StatefulSet/kairos-redis: .*calls redis-sever",
}
