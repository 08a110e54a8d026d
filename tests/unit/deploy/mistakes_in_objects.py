"""Words that Kubernetes lets pass, and objects that do not find each other."""

from __future__ import annotations

import copy

from deploy.checks.build import Object
from tests.unit.deploy.planting import Mistake, find, gateway, labels, policy, stage, worker

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


def kind_nobody_checks(objects: list[Object]) -> None:
    rule = {"host": "shop.example.com"}
    name = {"name": "kairos", "namespace": "kairos"}
    objects.append(
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": name, "spec": {"rules": [rule]}}
    )


def account_that_is_not_there(objects: list[Object]) -> None:
    find(objects, "Deployment", "kairos-gateway")["spec"]["template"]["spec"]["serviceAccountName"] = "kairos"


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
    claim = copy.deepcopy(find(objects, "PersistentVolumeClaim", "kairos-pricing"))
    claim["metadata"]["name"] = "kairos-prices"
    objects.append(claim)


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


IN_OBJECTS: dict[Mistake, str] = {
    misspelt_word: "NetworkPolicy/redis: spec.policyTypes is Ingres",
    misspelt_label: "RayService/kairos-ranker: .*nobody knows the label app.kubernetes.io/prt-of",
    no_quantity: "Deployment/kairos-gateway: .*memory is 1Gii",
    request_above_its_limit: "Deployment/kairos-gateway: .*asks for 2Gi memory",
    no_schedule: "CronJob/kairos-qdrant-snapshots: schedule '17 24",
    variable_without_a_value: "Deployment/kairos-gateway: .*env.0 has not one of value, valueFrom",
    port_twice: "Deployment/kairos-gateway: .*port 9464 is there twice",
    capital_name: "Deployment/kairos-gateway: .*name is Gateway",
    other_namespace: "Deployment/kairos-gateway is in the namespace kairo,",
    kind_nobody_checks: "Ingress/kairos: .*nobody checks",
    account_that_is_not_there: "Deployment/kairos-gateway: there is no serviceAccountName kairos",
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
    disk_nobody_has: "PersistentVolumeClaim/kairos-prices: no pod has it",
    unwatched_stage: "RayService/kairos-pricing workers: no monitor scrapes it",
    unmounted_volume: "Deployment/kairos-gateway: ",
    idle_config_map: "RayService/kairos-ranker: .*data_dir is var/ranker",
    dashboard_without_its_label: "ConfigMap/kairos-dashboard-shop: .*grafana_dashboard",
}
