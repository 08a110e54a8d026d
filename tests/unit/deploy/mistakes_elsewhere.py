"""Slips in what `production` does not take: embedded engines, and what one may switch on."""

from __future__ import annotations

from deploy.checks.build import OPTIONS, SMALL_OPTIONS, Object
from tests.unit.deploy.planting import Mistake, edit_serve, find, pod, stage, variables, worker


def surge_with_one_shard(objects: list[Object]) -> None:
    edit_serve(objects, "retrieval", lambda c: c["applications"][0]["deployments"][0].update(max_surge_percent=100))


def state_that_ends_with_its_pod(objects: list[Object]) -> None:
    objects.remove(find(objects, "PersistentVolumeClaim", "kairos-ranker"))
    volumes = worker(objects, "ranker")["template"]["spec"]["volumes"]
    volumes[1] = {"name": "data", "emptyDir": {}}


def upgrade_with_one_shard(objects: list[Object]) -> None:
    stage(objects, "retrieval")["upgradeStrategy"]["type"] = "NewCluster"


def shared_disk_of_one_node(objects: list[Object]) -> None:
    find(objects, "PersistentVolumeClaim", "kairos-ranker-registry")["spec"]["accessModes"] = ["ReadWriteOnce"]


def second_learner(objects: list[Object]) -> None:
    find(objects, "Deployment", "kairos-learner")["spec"]["strategy"] = {"type": "RollingUpdate"}


def registry_nobody_can_write(objects: list[Object]) -> None:
    mounts = pod(objects, "Deployment", "kairos-learner")["spec"]["containers"][0]["volumeMounts"]
    next(mount for mount in mounts if mount["name"] == "registry")["readOnly"] = True


def learner_without_a_monitor(objects: list[Object]) -> None:
    pod(objects, "Deployment", "kairos-learner")["metadata"]["labels"]["app.kubernetes.io/component"] = "learning"


def wrong_learner_port(objects: list[Object]) -> None:
    pod(objects, "Deployment", "kairos-learner")["spec"]["containers"][0]["ports"][0]["containerPort"] = 9464


def learner_on_loopback(objects: list[Object]) -> None:
    del variables(objects, "kairos-learner")["KAIROS_LEARNER_METRICS__HOST"]


def backup_without_a_disk(objects: list[Object]) -> None:
    spec = pod(objects, "CronJob", "kairos-backup")["spec"]
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] != "ranker"]


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
    state_that_ends_with_its_pod: ("single-node", "RayService/kairos-ranker: the profiles' SQLite is in /data/ranker"),
    upgrade_with_one_shard: ("single-node", "RayService/kairos-retrieval: Qdrant Edge .*a second cluster"),
    shared_disk_of_one_node: (OPTIONS, "share the disk kairos-ranker-registry"),
    second_learner: (OPTIONS, "Deployment/kairos-learner: its successor would start beside it"),
    registry_nobody_can_write: (OPTIONS, "Deployment/kairos-learner: the registry is /registry"),
    learner_without_a_monitor: (OPTIONS, "Deployment/kairos-learner: no monitor scrapes it"),
    wrong_learner_port: (OPTIONS, "Deployment/kairos-learner: port metrics is 9464, the learner listens on 9465"),
    learner_on_loopback: (OPTIONS, "Deployment/kairos-learner: metrics listens on 127.0.0.1"),
    backup_without_a_disk: (SMALL_OPTIONS, "CronJob/kairos-backup: kairos mounts ranker"),
    gpu_backend_without_torch: (OPTIONS, "RayService/kairos-query-encoder: workers: .*has no torch"),
    no_gpu: (OPTIONS, "RayService/kairos-query-encoder: workers: the device is cuda"),
    intolerant_of_gpus: (OPTIONS, "RayService/kairos-query-encoder workers: asks for a GPU"),
    model_that_is_not_copied: (
        OPTIONS,
        "workers: .*there is no /models/encodr in kairos/models",
    ),
    unknown_rpc: (OPTIONS, "GRPCRoute/kairos: nobody serves kairos.gateway.v1.Gateway"),
}
