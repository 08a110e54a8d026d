"""Mutations: planted faults, at least one for each rule of deploy/checks."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import yaml

from deploy.checks.build import Object

DELETED = object()
OPTIONS, SMALL, LAPTOP = "production-with-options", "single-node", "laptop"
SMALL_OPTIONS = "single-node-with-options"
_RANKER = "RayService/kairos-ranker"
_POD = "spec template spec"
_JOB = "spec jobTemplate spec template spec"
_CLUSTER = "spec rayClusterConfig"
_HEAD = "spec rayClusterConfig headGroupSpec"
_WORKERS = "spec rayClusterConfig workerGroupSpecs 0"
_WORKER = f"{_WORKERS} template spec"
_APPLICATION = "spec serveConfigV2 applications 0"


class Mutation(NamedTuple):
    """One object of an overlay, without a field or with another value. `message`: a pattern of the problem."""

    # Kind and name; generated config maps have a digest behind their name.
    object: str
    # Keys and indices. A path goes on in the YAML within serveConfigV2. Empty: the object itself.
    path: str
    value: Any
    message: str
    overlay: str = "production"


def mutated(objects: list[Object], mutation: Mutation) -> list[Object]:
    """A copy of the objects with the mutation in it."""
    objects = copy.deepcopy(objects)
    (item,) = (o for o in objects if mutation.object in _names(o))
    if not mutation.path:
        objects.remove(item)
    else:
        _set(item, mutation.path.split(), mutation.value)
    return objects


def _names(item: Object) -> tuple[str, str]:
    name = f"{item['kind']}/{item['metadata']['name']}"
    return name, name[:-11] if item["kind"] == "ConfigMap" else name


def _set(node: Any, path: list[str], value: Any) -> None:
    key: Any = int(path[0]) if isinstance(node, list) else path[0]
    if key == "serveConfigV2" and len(path) > 1:
        content = yaml.safe_load(node[key])
        _set(content, path[1:], value)
        node[key] = yaml.safe_dump(content)
    elif len(path) > 1:
        _set(node[key], path[1:], value)
    elif value is DELETED:
        del node[key]
    else:
        node[key] = value


# fmt: off
SCHEMAS = [
    Mutation("Deployment/kairos-gateway", f"{_POD} readinesProbe", {}, "readinesProbe"),
    Mutation("CronJob/kairos-backup", "kind", "CornJob", "CornJob/kairos-backup: .* has no"),
    Mutation(_RANKER, f"{_APPLICATION} deployments 0 max_ongoing_request", 64,
             "serveConfigV2: .*max_ongoing_request: there is no such key"),
    Mutation(_RANKER, f"{_APPLICATION} deployments 0 autoscaling_config min_replica", 2,
             "serveConfigV2: .*min_replica: there is no such key"),
    # Serve only warns of it, until its next release.
    Mutation(_RANKER, f"{_APPLICATION} deployments 0 autoscaling_config look_back_period_s", 10,
             "serveConfigV2: .*look_back_period_s"),
    Mutation(_RANKER, "spec serveConfigV2", "applications: []\napplications: []\n",
             "serveConfigV2: .*duplication of key"),
]
# Found by the published CustomResourceDefinitions.
CUSTOM_RESOURCES = [
    Mutation(_RANKER, f"{_CLUSTER} enableInTreeAutoScaling", True, "enableInTreeAutoScaling"),
    Mutation(_RANKER, f"{_WORKERS} rayStartParams num-cpus", 1, "num-cpus.*: 1 is not of type"),
    Mutation("PrometheusRule/kairos", "spec groups 0 rules 0 expression", "1", "'expression' was unexpected"),
    Mutation("ServiceMonitor/kairos-gateway", "metadata label", {}, "'label' was unexpected"),
]
REFERENCES = [
    Mutation("ConfigMap/kairos-redis", "", DELETED, "StatefulSet/kairos-redis: there is no config map kairos-redis"),
    Mutation("Deployment/kairos-gateway", f"{_POD} volumes 0 secret secretName", "kairos-gatway",
             "Deployment/kairos-gateway: there is no secret kairos-gatway"),
    Mutation(_RANKER, f"{_CLUSTER} gcsFaultToleranceOptions redisPassword valueFrom secretKeyRef key", "pass",
             "RayService/kairos-ranker: secret kairos-redis has no key pass"),
    Mutation("Deployment/kairos-gateway", f"{_POD} serviceAccountName", "kairos", "there is no ServiceAccount kairos"),
    Mutation("PersistentVolumeClaim/kairos-pricing", "", DELETED, "kairos-pricing workers: there is no disk",
             SMALL),
    Mutation("Deployment/kairos-gateway", f"{_POD} containers 0 livenessProbe tcpSocket port", "gprc",
             "the livenessProbe asks port gprc"),
    Mutation("CronJob/kairos-backup",
             f"{_JOB} affinity podAffinity requiredDuringSchedulingIgnoredDuringExecution 0 labelSelector matchLabels",
             {"app.kubernetes.io/name": "kairos-prices"}, "must be beside .*kairos-prices", SMALL_OPTIONS),
    Mutation("Service/kairos-gateway", "spec ports 0 targetPort", "gprc", "port grpc leads to gprc"),
    Mutation("StatefulSet/kairos-qdrant", "spec serviceName", "kairos-qdrant-node", "no service of its pods"),
    Mutation("HorizontalPodAutoscaler/kairos-gateway", "spec scaleTargetRef name", "kairos-gatway",
             "there is no Deployment/kairos-gatway"),
    Mutation("PodDisruptionBudget/kairos-ranker", "spec selector matchLabels", {"app": "ranker"}, "selects no pod"),
    Mutation("PodMonitor/kairos-stages", "spec podMetricsEndpoints 0 port", "metric", "has a port metric"),
    Mutation("GRPCRoute/kairos", "spec rules 0 backendRefs 0 port", 50051,
             "no service kairos-gateway has port 50051", OPTIONS),
    Mutation("GRPCRoute/kairos", "spec rules 0 matches 0 method service", "kairos.gateway.v1.Gateway",
             "the gateway does not serve kairos.gateway.v1.Gateway", OPTIONS),
    Mutation("Deployment/kairos-learner", "spec strategy type", "RollingUpdate",
             "its successor would start beside it", OPTIONS),
    Mutation("StatefulSet/kairos-redis", "spec replicas", 2, "has 2 replicas, each with files of its own"),
    Mutation("ConfigMap/kairos-qdrant", "data QDRANT__CLUSTER__ENABLED", DELETED,
             "StatefulSet/kairos-qdrant: has 3 replicas, each with files of its own"),
    Mutation("RayService/kairos-pricing", f"{_WORKER} affinity", {}, "its successor may start on another", SMALL),
]
ADDRESSES = [
    Mutation("ConfigMap/kairos-retrieval", "data KAIROS_RETRIEVAL_SERVER__URL", "https://kairos-qdrnt:6333",
             "names kairos-qdrnt, and there is no such service"),
    Mutation("ConfigMap/kairos-retrieval", "data KAIROS_RETRIEVAL_SERVER__URL", "https://kairos-qdrant:6335",
             "names port 6335 of kairos-qdrant"),
    Mutation("ConfigMap/kairos-retrieval", "data KAIROS_RETRIEVAL_SERVER__URL", "htps://kairos-qdrant:6333",
             "unknown scheme htps"),
    Mutation("ConfigMap/kairos-retrieval", "data KAIROS_RETRIEVAL_SERVER__URL", "kairos-qdrant", "names no host"),
    Mutation("ConfigMap/kairos-gateway", "data KAIROS_GATEWAY_STAGES__RANKER__TARGET", "kairos-ranker-serve-svc:8000",
             "names port serve of kairos-ranker-serve-svc"),
    Mutation(_RANKER, f"{_CLUSTER} gcsFaultToleranceOptions redisAddress", "kairos-gcs-redis:1",
             "head: redisAddress: names port 1"),
]
VARIABLES = [
    Mutation("ConfigMap/kairos-ranker", "data KAIROS_RANKING_STORE", "redis",
             "KAIROS_RANKING_STORE is a setting of no"),
    Mutation("ConfigMap/kairos-gateway", "data KAIROS_PRICING_QUOTE_VALID_S", "60",
             "Deployment/kairos-gateway: KAIROS_PRICING_QUOTE_VALID_S is a setting of no service that runs here"),
    Mutation("ConfigMap/kairos-ranker", "data KAIROS_RANKER_EXPLORATION", "2",
             "KAIROS_RANKER_EXPLORATION: .*less than"),
    Mutation(_RANKER, f"{_WORKER} containers 0 env 2 name", "REDIS_PASSWORD",
             r"KAIROS_RANKER_REDIS_URL refers to \$\(KAIROS_REDIS_PASSWORD\)"),
    Mutation("StatefulSet/kairos-redis", f"{_POD} containers 0 env 0 name", "PASSWORD",
             r"refers to \$\(REDIS_PASSWORD\), which is not set"),
    Mutation("ConfigMap/kairos-gateway", "data KAIROS_GATEWAY_SECURITY__KEY", "/etc/kairos/tls/key.pem",
             "there is no key.pem in the volume tls"),
    Mutation("ConfigMap/kairos-query-encoder", "data KAIROS_QUERY_ENCODER_MODEL_DIR", "/opt/kairos/embeded",
             "/opt/kairos/embeded, which is in no volume and not in kairos/query-encoder"),
]
APPLICATIONS = [
    Mutation(_RANKER, f"{_APPLICATION} name", "ranking", "the gateway calls no application ranking"),
    Mutation(_RANKER, f"{_APPLICATION} import_path", "services.ranker.apps:build",
             "there is no services.ranker.apps:build"),
    Mutation(_RANKER, f"{_APPLICATION} import_path", "services.retrieval.app:build",
             "services.retrieval.app:build makes no deployment ranker"),
    Mutation(_RANKER, f"{_APPLICATION} deployments 0 name", "Ranker", "must have the same name"),
    Mutation(_RANKER, f"{_APPLICATION} route_prefix", "/pricing", "route_prefix is /pricing"),
    Mutation(_RANKER, "spec serveConfigV2 grpc_options grpc_servicer_functions",
             ["services.common.direct_ingress.add_rankr"], "there is no services.common.direct_ingress.add_rankr"),
    Mutation(_RANKER, "spec serveConfigV2 grpc_options grpc_servicer_functions", [],
             "grpc_servicer_functions lacks services.common.direct_ingress.add_ranker"),
    Mutation("RayService/kairos-retrieval", f"{_WORKER} containers 0 image", "kairos/ranker:0.1.0",
             "kairos/ranker:0.1.0 is built without the extra retrieval"),
    Mutation("Deployment/kairos-gateway", f"{_POD} containers 0 image", "kairos/gatway:0.1.0", "no Dockerfile"),
    Mutation(_RANKER, f"{_WORKER} containers 0 envFrom 1 configMapRef name", "kairos-ray",
             "kairos-ranker workers: data_dir is var/ranker, where nothing can be written"),
    Mutation(_RANKER, f"{_HEAD} template spec containers 0 envFrom", [], "has no settings of ranker"),
    Mutation("ConfigMap/kairos-retrieval", "data SSL_CERT_FILE", DELETED, "without SSL_CERT_FILE"),
    Mutation("RayService/kairos-query-encoder", f"{_WORKER} containers 0 image", "kairos/query-encoder:0.1.0",
             "has no torch, and the backend is torch", OPTIONS),
    Mutation("ConfigMap/kairos-query-encoder", "data KAIROS_QUERY_ENCODER_DEVICE", "cpu", "the device is cpu", OPTIONS),
    Mutation("ConfigMap/kairos-ranker", "data KAIROS_RANKER_STORE", "sqlite", "the SQLite of ranker is one pod's"),
    Mutation(_RANKER, f"{_WORKER} volumes 1", {"name": "data", "emptyDir": {}},
             "the SQLite of ranker is in /data/ranker, which ends with its pod", SMALL),
    Mutation("RayService/kairos-retrieval", "spec upgradeStrategy type", "NewCluster",
             "an upgrade brings a second cluster", SMALL),
    Mutation("RayService/kairos-retrieval", f"{_APPLICATION} deployments 0 max_surge_percent", 100,
             "max_surge_percent must be 0", SMALL),
    Mutation("Deployment/kairos-gateway", f"{_POD} containers 0 ports 0 containerPort", 50051, "port grpc is 50051"),
    Mutation("ConfigMap/kairos-gateway", "data KAIROS_GATEWAY_METRICS__HOST", DELETED, "metrics listens on 127.0.0.1"),
    Mutation("ConfigMap/kairos-gateway", "data KAIROS_GATEWAY_STAGES__RANKER__TARGET", DELETED, "the pod itself"),
    Mutation("ConfigMap/kairos-gateway", "data KAIROS_GATEWAY_STAGES__RANKER__TARGET", "kairos-pricing:9000",
             "the target of ranker is kairos-pricing:9000, which leads to kairos-pricing"),
    Mutation("Deployment/kairos-gateway", f"{_POD} containers 0 livenessProbe", {"grpc": {"port": 50050}},
             "with TLS on"),
    Mutation("Deployment/kairos-gateway", f"{_POD} terminationGracePeriodSeconds", 10, r"preStop \(5 s\)"),
    Mutation("Deployment/kairos-learner", f"{_POD} containers 0 volumeMounts 0 readOnly", True,
             "the registry is /tmp/registry", OPTIONS),
    Mutation("ConfigMap/kairos-ranker", "data KAIROS_RANKER_STORE", "sqlite", "the ranker's log is in sqlite", OPTIONS),
    Mutation("ConfigMap/kairos-price-publisher", "data KAIROS_PRICE_PUBLISHER_GATEWAY__CA", DELETED,
             "the gateway and it must both use TLS, or none"),
    Mutation("ConfigMap/kairos-price-publisher", "data",
             {"KAIROS_PRICE_PUBLISHER_GATEWAY__TARGET": "kairos-gateway:50050",
              "KAIROS_PRICE_PUBLISHER_GATEWAY__CA": "/etc/kairos/tls/ca.crt"},
             "the gateway asks for a certificate, which it does not have", OPTIONS),
    Mutation("ConfigMap/kairos-control", "data KAIROS_CONTROL_SERVER__HOST", DELETED,
             "kairos-control: grpc listens on 127.0.0.1", OPTIONS),
    Mutation("ConfigMap/kairos-gateway", "data KAIROS_GATEWAY_CONTROL__CA", DELETED,
             "kairos-control: kairos-gateway and it must both use TLS", OPTIONS),
    Mutation("Deployment/kairos-control", f"{_POD} containers 0 env", [],
             "kairos-control: its database is a file of one pod", OPTIONS),
    Mutation("Deployment/kairos-control", f"{_POD} containers 0 env 5 value", "",
             "kairos-control: the archive of the audit is on the disk of one pod", OPTIONS),
    Mutation("Deployment/kairos-control", f"{_POD} terminationGracePeriodSeconds", 9,
             "kairos-control: preStop .* are not over within 9 s", OPTIONS),
    Mutation("ConfigMap/kairos-pricing-control", "data KAIROS_PRICING_CONTROL__CA", DELETED,
             "kairos-control: kairos-pricing and it must both use TLS"),
    Mutation("ConfigMap/kairos-price-publisher", "data KAIROS_PRICE_PUBLISHER_CONTROL__CA", DELETED,
             "kairos-control: kairos-price-publisher and it must both use TLS"),
    Mutation("ConfigMap/kairos-sponsored", "data KAIROS_SPONSORED_CONTROL__CA", DELETED,
             "kairos-control: kairos-sponsored and it must both use TLS"),
    Mutation("ConfigMap/kairos-assistant", "data KAIROS_ASSISTANT_GATEWAY__CA", DELETED,
             "kairos-assistant head: the gateway and it must both use TLS, or none"),
    Mutation("ConfigMap/kairos-biller", "data KAIROS_BILLER_GATEWAY__CA", DELETED,
             "kairos-biller: the gateway and it must both use TLS, or none"),
    Mutation("Deployment/kairos-biller", f"{_POD} volumes 1", {"name": "data", "emptyDir": {}},
             "the ledger is in /data/biller, which ends with its pod"),
    Mutation("Deployment/kairos-control", "spec replicas", 2, "its database is a file of one pod", SMALL),
    Mutation("Deployment/kairos-control", f"{_POD} volumes 0", {"name": "data", "emptyDir": {}},
             "its database is in /data/control, which ends with its pod", LAPTOP),
    Mutation("RayService/kairos-pricing", f"{_WORKER} containers 0 env 3", {"name": "A", "value": "b"},
             "the SQLite of pricing is in /data/pricing, which ends with its pod"),
    Mutation("NetworkPolicy/to-control", "", DELETED,
             "kairos-gateway: may not reach port 50060 of Deployment/kairos-control"),
    Mutation("NetworkPolicy/control", "", DELETED,
             "kairos-pricing workers: may not reach port 50060 of Deployment/kairos-control"),
    Mutation("ConfigMap/kairos-price-publisher", "data KAIROS_PRICE_PUBLISHER_METRICS__HOST", DELETED,
             "kairos-price-publisher: metrics listens on 127.0.0.1"),
]
NETWORK = [
    Mutation("NetworkPolicy/workers-to-gateway", "", DELETED,
             "kairos-price-publisher: may not reach port 50050 of Deployment/kairos-gateway"),
    Mutation("NetworkPolicy/control-to-object-store", "", DELETED,
             "kairos-control: may not reach port 443 of an address outside", OPTIONS),
    Mutation("NetworkPolicy/redis", "spec ingress 0 ports", [{"port": "grpc"}], "may not reach port 6379 .*ingress"),
    Mutation("NetworkPolicy/gateway-to-stages", "spec egress 0 to 0 podSelector matchLabels", {"a": "b"},
             "Deployment/kairos-gateway: may not reach port 9000 of RayService/kairos-ranker"),
    Mutation("NetworkPolicy/prometheus", "spec ingress 0 from 0 namespaceSelector matchLabels",
             {"kubernetes.io/metadata.name": "monitor"}, "Prometheus: may not reach port 9464"),
    Mutation("NetworkPolicy/qdrant", "spec egress 1 ports", [{"port": 444}],
             "may not reach port 443 of an address outside"),
    Mutation("NetworkPolicy/ray-of-ranker", "spec ingress 0 from", DELETED,
             "a pod of another namespace: may reach port 10002 of RayService/kairos-ranker"),
    Mutation("NetworkPolicy/qdrant-from-prometheus", "", DELETED,
             "Prometheus: may not reach port 6333 of StatefulSet/kairos-qdrant"),
    Mutation("NetworkPolicy/redis-from-exporter", "", DELETED,
             "kairos-redis-exporter: may not reach port 6379 of StatefulSet/kairos-redis"),
    Mutation("NetworkPolicy/qdrant", "spec egress 0 ports", [{"port": "http"}],
             "kairos-qdrant: may not reach port 6335 of StatefulSet/kairos-qdrant"),
    Mutation("NetworkPolicy/heads-to-api-server", "spec egress 0 ports", [{"port": 8443}],
             "kairos-ranker head: may not reach port 443 of an address outside"),
    Mutation("NetworkPolicy/operator-to-heads", "spec ingress 0 from 0 podSelector matchExpressions 0 values",
             ["kuberay-operator"], r"operator \(kuberay\): may not reach port 8265"),
    Mutation("NetworkPolicy/closed", "", DELETED, "none closes the whole namespace"),
]
STAGE_ACCESS = [
    Mutation("ConfigMap/kairos-gateway", "data KAIROS_STAGE_ACCESS_SECRET_FILE", DELETED,
             "Deployment/kairos-gateway: KAIROS_STAGE_ACCESS_SECRET_FILE is not set"),
    Mutation("ConfigMap/kairos-ray", "data KAIROS_STAGE_ACCESS_SECRET_FILE", DELETED,
             "kairos-ranker workers: KAIROS_STAGE_ACCESS_SECRET_FILE is not set"),
    Mutation("ConfigMap/kairos-gateway", "data KAIROS_STAGE_ACCESS_CA", DELETED, "must both use TLS", OPTIONS),
    Mutation("ConfigMap/kairos-ray", "data KAIROS_STAGE_ACCESS_INGRESS_CERTIFICATE", DELETED, "must both use TLS",
             OPTIONS),
    Mutation("ConfigMap/kairos-ray", "data KAIROS_STAGE_ACCESS_INGRESS_CA", "/etc/kairos/stages-tls/stages.pem",
             "asks for a certificate", OPTIONS),
    Mutation("RayService/kairos-ranker", f"{_WORKER} volumes 2 secret items 0 path", "secrets",
             "there is no secret in the volume stage-secret"),
    Mutation("RayService/kairos-ranker", f"{_WORKER} volumes 2 secret secretName", "kairos-stage",
             "there is no secret kairos-stage"),
]
RAY_CLUSTERS = [
    Mutation(_RANKER, f"{_CLUSTER} rayVersion", "2.59.0", "rayVersion is 2.59.0"),
    Mutation(_RANKER, f"{_CLUSTER} authOptions", DELETED, "authOptions.mode must be token"),
    Mutation(_RANKER, "spec upgradeStrategy type", "NewClusterWithIncrementalUpgrade", "HTTP traffic"),
    Mutation(_RANKER, f"{_HEAD} rayStartParams num-cpus", "1", "head: num-cpus must be 0"),
    Mutation("RayService/kairos-suite", f"{_HEAD} rayStartParams num-cpus", "1", "its pods have 1", LAPTOP),
    Mutation("RayService/kairos-suite", "spec excludeHeadPodFromServeSvc", True, "no other pod serves", LAPTOP),
    Mutation("RayService/kairos-suite", f"{_HEAD} template spec volumes 1", {"name": "data", "emptyDir": {}},
             "Qdrant Edge is in /data/retrieval, which ends with its pod", LAPTOP),
    Mutation("Service/kairos-suite", "spec selector", {"ray.io/node-type": "worker"}, "selects no pod", LAPTOP),
    Mutation(_RANKER, f"{_HEAD} rayStartParams dashboard-host", "127.0.0.1", "dashboard-host must"),
    Mutation(_RANKER, f"{_WORKERS} rayStartParams num-cpu", "1", "`ray start` has no --num-cpu"),
    Mutation(_RANKER, f"{_WORKERS} maxReplicas", 2, "maximal replicas need 16 CPUs"),
    Mutation("RayService/kairos-query-encoder", f"{_WORKERS} rayStartParams num-gpus", DELETED,
             "num-gpus is not", OPTIONS),
    Mutation(_RANKER, f"{_WORKER} containers 0 ports 0 containerPort", 8081, "port metrics is 8081"),
    Mutation(_RANKER, "spec serveConfigV2 grpc_options port", 9001, "Ray listens on 9001"),
    Mutation(_RANKER, "spec serveConfigV2 http_options host", "127.0.0.1", "no caller reaches it"),
    Mutation(_RANKER, "spec serveConfigV2 proxy_location", "HeadOnly", "only EveryNode"),
    Mutation(_RANKER, f"{_WORKER} restartPolicy", "Always", "restartPolicy must be Never"),
    Mutation(_RANKER, f"{_WORKER} terminationGracePeriodSeconds", 20, "is killed after 20 s"),
    Mutation(_RANKER, f"{_WORKER} containers 0 envFrom 0", {"configMapRef": {"name": "kairos-redis"}},
             "RAY_SERVE_ENABLE_HA_PROXY is None"),
    Mutation("ConfigMap/kairos-ray", "data RAY_SERVE_HAPROXY_THREADS", "1", "no flag RAY_SERVE_HAPROXY_THREADS"),
]
# fmt: on
MUTATIONS = [*SCHEMAS, *REFERENCES, *ADDRESSES, *VARIABLES, *APPLICATIONS, *NETWORK, *STAGE_ACCESS, *RAY_CLUSTERS]
