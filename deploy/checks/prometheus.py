"""deploy/monitoring/prometheus.yaml, for one machine: what we use of Prometheus's settings; all else is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.checks.build import DEPLOY
from deploy.checks.custom_resources import Duration
from deploy.checks.strict_yaml import StrictLoader
from services.gateway.settings import MetricsSettings
from services.learner.settings import MetricsSettings as LearnerMetricsSettings


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Global(_Strict):
    scrape_interval: Duration
    evaluation_interval: Duration


class _Targets(_Strict):
    targets: list[str] = Field(min_length=1)


class _Job(_Strict):
    job_name: str
    static_configs: list[_Targets] = Field(min_length=1)


class PrometheusConfig(_Strict):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    global_: _Global = Field(alias="global")
    rule_files: list[str] = Field(min_length=1)
    scrape_configs: list[_Job] = Field(min_length=1)


def prometheus_problems(deploy: Path = DEPLOY) -> Iterator[str]:
    file = deploy / "monitoring" / "prometheus.yaml"
    try:
        config = PrometheusConfig.model_validate(yaml.load(file.read_text(), StrictLoader))
    except ValidationError as error:
        yield from (f"prometheus.yaml: {'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        return
    yield from (f"prometheus.yaml: there is no {n}" for n in config.rule_files if not (file.parent / n).is_file())
    served = {
        "kairos-gateway": f"{MetricsSettings().host}:{MetricsSettings().port}",
        "kairos-learner": f"{LearnerMetricsSettings().host}:{LearnerMetricsSettings().port}",
    }
    for job in config.scrape_configs:
        address = served.get(job.job_name)
        if [target for part in job.static_configs for target in part.targets] != [address]:
            yield f"prometheus.yaml: {job.job_name} does not scrape {address}, where its metrics are"
