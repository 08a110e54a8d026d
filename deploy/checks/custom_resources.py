"""What we use of the custom resources of KubeRay, the Prometheus operator and the Gateway API; all else is refused.

After KubeRay's API reference of version 1.6, and the v1 kinds of the other two. Smaller than those: a field that a
manifest uses for the first time is added here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from deploy.checks.schemas import core_problems


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, strict=True)


def _core(definition: str) -> AfterValidator:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        if problems := core_problems(definition, value):
            raise ValueError("; ".join(problems))
        return value

    return AfterValidator(check)


_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
Metadata = Annotated[dict[str, Any], _core(f"{_META}.ObjectMeta")]
Selector = Annotated[dict[str, Any], _core(f"{_META}.LabelSelector")]
PodTemplate = Annotated[dict[str, Any], _core("io.k8s.api.core.v1.PodTemplateSpec")]
Resources = Annotated[dict[str, Any], _core("io.k8s.api.core.v1.ResourceRequirements")]
SecurityContext = Annotated[dict[str, Any], _core("io.k8s.api.core.v1.SecurityContext")]
EnvSource = Annotated[dict[str, Any], _core("io.k8s.api.core.v1.EnvVarSource")]
Duration = Annotated[str, Field(pattern=r"^([0-9]+(ms|[smhd]))+$")]


class HeadGroup(_Strict):
    ray_start_params: dict[str, str]
    template: PodTemplate


class WorkerGroup(_Strict):
    # Part of its pods' names.
    group_name: str = Field(pattern="^[a-z0-9-]+$")
    replicas: int = Field(ge=0)
    min_replicas: int = Field(ge=0)
    max_replicas: int = Field(ge=1)
    ray_start_params: dict[str, str]
    template: PodTemplate


class AutoscalerOptions(_Strict):
    version: Literal["v1", "v2"]
    idle_timeout_seconds: int
    resources: Resources
    security_context: SecurityContext


class Credential(_Strict):
    value_from: EnvSource


class GcsFaultTolerance(_Strict):
    redis_address: str
    redis_password: Credential


class AuthOptions(_Strict):
    mode: Literal["disabled", "token"]


class RayCluster(_Strict):
    ray_version: str
    enable_in_tree_autoscaling: bool
    autoscaler_options: AutoscalerOptions
    gcs_fault_tolerance_options: GcsFaultTolerance | None = None
    auth_options: AuthOptions | None = None
    head_group_spec: HeadGroup
    worker_group_specs: list[WorkerGroup]


class UpgradeStrategy(_Strict):
    # NewClusterWithIncrementalUpgrade routes HTTP only.
    type: Literal["NewCluster", "None"]


class RayServiceSpec(_Strict):
    serve_config_v2: str = Field(alias="serveConfigV2")
    upgrade_strategy: UpgradeStrategy
    ray_cluster_deletion_delay_seconds: int = Field(ge=0)
    exclude_head_pod_from_serve_svc: bool = False
    ray_cluster_config: RayCluster


class _Object(_Strict):
    api_version: str
    kind: str
    metadata: Metadata


class RayService(_Object):
    spec: RayServiceSpec


class Endpoint(_Strict):
    port: str
    interval: Duration
    # The only one that the gateway and Ray know.
    path: Literal["/metrics"] = "/metrics"


class ServiceMonitorSpec(_Strict):
    selector: Selector
    endpoints: list[Endpoint] = Field(min_length=1)


class ServiceMonitor(_Object):
    spec: ServiceMonitorSpec


class PodMonitorSpec(_Strict):
    selector: Selector
    pod_target_labels: list[str] = []
    pod_metrics_endpoints: list[Endpoint] = Field(min_length=1)


class PodMonitor(_Object):
    spec: PodMonitorSpec


class Rule(_Strict):
    alert: str | None = None
    record: str | None = None
    expr: str
    for_: Duration | None = Field(default=None, alias="for")
    keep_firing_for: Duration | None = Field(default=None, alias="keep_firing_for")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RuleGroup(_Strict):
    name: str
    interval: Duration | None = None
    rules: list[Rule] = Field(min_length=1)


class PrometheusRuleSpec(_Strict):
    groups: list[RuleGroup] = Field(min_length=1)


class PrometheusRule(_Object):
    spec: PrometheusRuleSpec


class ParentRef(_Strict):
    name: str
    namespace: str | None = None
    section_name: str | None = None


class MethodMatch(_Strict):
    service: str
    method: str | None = None


class RouteMatch(_Strict):
    method: MethodMatch


class BackendRef(_Strict):
    name: str
    port: int


class RouteRule(_Strict):
    matches: list[RouteMatch] = Field(max_length=64)
    backend_refs: list[BackendRef] = Field(min_length=1, max_length=16)


class GrpcRouteSpec(_Strict):
    parent_refs: list[ParentRef] = Field(min_length=1)
    hostnames: list[str]
    rules: list[RouteRule] = Field(min_length=1, max_length=16)


class GrpcRoute(_Object):
    spec: GrpcRouteSpec


CUSTOM_RESOURCES: dict[tuple[str, str], type[_Object]] = {
    ("ray.io/v1", "RayService"): RayService,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): ServiceMonitor,
    ("monitoring.coreos.com/v1", "PodMonitor"): PodMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRule,
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): GrpcRoute,
}
