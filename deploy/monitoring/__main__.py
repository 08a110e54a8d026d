"""Writes the files that Prometheus, its operator and Grafana read: `python -m deploy.monitoring`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from deploy.monitoring.panels import dashboards
from deploy.monitoring.slos import prometheus_rule, rule_groups

FOLDER = Path(__file__).parent
_HEADER = "# Written by `python -m deploy.monitoring` from slos.py.\n"


def files() -> Iterator[tuple[Path, str]]:
    yield FOLDER / "rules.yaml", _HEADER + yaml.safe_dump(rule_groups(), sort_keys=False, width=200)
    yield FOLDER / "prometheus-rule.yaml", _HEADER + yaml.safe_dump(prometheus_rule(), sort_keys=False, width=200)
    for name, dashboard in dashboards().items():
        yield FOLDER / "dashboards" / f"{name}.json", json.dumps(dashboard, indent=1) + "\n"


def main() -> None:
    for path, text in files():
        path.write_text(text)


if __name__ == "__main__":
    main()
