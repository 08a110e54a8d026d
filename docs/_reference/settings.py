"""The page of all settings: environment variable, type, default, bounds, and the comment in the source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs._reference.markdown import definition, escaped
from experiments.settings import ExperimentSettings
from ops.settings import SuiteSettings
from services.assistant.settings import AssistantSettings
from services.common.settings import ServiceSettings
from services.common.stage_access import StageAccessSettings
from services.control.settings import ControlSettings
from services.gateway.settings import GatewaySettings
from services.learner.settings import LearnerSettings
from services.pricing.publisher.settings import PricePublisherSettings
from services.pricing.settings import PricingSettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from services.sponsored.biller.settings import BillerSettings
from services.sponsored.settings import SponsoredSettings
from training.evaluation.verdict import EvaluationSettings

MODELS: dict[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "query_encoder": QueryEncoderSettings,
    "retrieval": RetrievalSettings,
    "ranker": RankerSettings,
    "pricing": PricingSettings,
    "sponsored": SponsoredSettings,
    "assistant": AssistantSettings,
    "biller": BillerSettings,
    "price publisher": PricePublisherSettings,
    "learner": LearnerSettings,
    "control": ControlSettings,
    "experiments": ExperimentSettings,
    "evaluation": EvaluationSettings,
    "calls from the gateway to stages": StageAccessSettings,
    "the suite on one machine": SuiteSettings,
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_INTRODUCTION = """\
# Settings

Each service has one settings model. The value of a setting comes from the first of these sources that has one: an
argument of the Serve application, the environment, the YAML file, the default. An unknown key in a file or an argument
stops the start, and the message names the key. [Configure a service](../../how-to/configure.md) shows examples."""


@dataclass(frozen=True)
class Setting:
    """One leaf of a settings model. `path` is its place in a YAML file."""

    path: tuple[str, ...]
    type: str
    default: str
    bounds: str
    comment: str

    def variable(self, prefix: str) -> str:
        return prefix + "__".join(self.path).upper()


@dataclass(frozen=True)
class Group:
    """The settings of one model, with the groups inside it flattened behind them."""

    path: tuple[str, ...]
    comment: str
    settings: tuple[Setting, ...]


def settings_page() -> str:
    parts = [_INTRODUCTION]
    for title, model in MODELS.items():
        prefix = model.model_config.get("env_prefix", "")
        parts.append(f"## {title[0].upper()}{title[1:]}")
        parts.append(f"Environment: `{prefix}…`. File: the one that `{prefix}CONFIG` names.")
        for group in groups(model):
            if group.path:
                parts.append(f"### {title[0].upper()}{title[1:]}: {'.'.join(group.path)}")
            if group.comment:
                parts.append(group.comment)
            parts.append("\n".join(_entry(setting, prefix) for setting in group.settings))
    return "\n\n".join(filter(None, parts)) + "\n"


def groups(model: type[BaseModel], path: tuple[str, ...] = (), defaults: BaseModel | None = None) -> Iterator[Group]:
    """The model itself first. `defaults` is the value of the group where it stands in its parent."""
    source = _Source(model)
    settings, inner = list[Setting](), list[tuple[type[BaseModel], str, Any]]()
    for name, field in model.model_fields.items():
        default = getattr(defaults, name) if defaults is not None else field.get_default(call_default_factory=True)
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            inner.append((field.annotation, name, default))
        else:
            about = source.comments.get(name, "")
            settings.append(Setting((*path, name), source.types[name], _text(default), _bounds(field), about))
    comment = escaped(inspect.cleandoc(model.__doc__)) if path and model.__doc__ else ""
    if settings:
        yield Group(path, comment, tuple(settings))
    for kind, name, default in inner:
        yield from groups(kind, (*path, name), default)


class _Source:
    """Types and comments of a model's fields, as its source and that of its bases say them."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.types: dict[str, str] = {}
        self.comments: dict[str, str] = {}
        for base in reversed(model.__mro__):
            if issubclass(base, BaseModel) and not base.__module__.startswith("pydantic"):
                self._read(base)

    def _read(self, model: type[BaseModel]) -> None:
        text = textwrap.dedent(inspect.getsource(model))
        lines = text.splitlines()
        (definition_of_class,) = ast.parse(text).body
        assert isinstance(definition_of_class, ast.ClassDef)
        for node in definition_of_class.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.types[node.target.id] = _type(node.annotation)
                self.comments[node.target.id] = _comment_above(lines, node.lineno - 1)


def _type(annotation: ast.expr) -> str:
    """`str`, or the choices of a Literal."""
    text = ast.unparse(annotation)
    if text.startswith("Literal["):
        return f"one of {text.removeprefix('Literal[').removesuffix(']')}"
    return text


def _comment_above(lines: list[str], row: int) -> str:
    found = list[str]()
    while row and (line := lines[row - 1].strip()).startswith("#"):
        found.insert(0, line.lstrip("# "))
        row -= 1
    return escaped("\n".join(found))


def _entry(setting: Setting, prefix: str) -> str:
    facts = [f"`{setting.type}`", f"default {setting.default}", setting.bounds]
    return definition(f"`{setting.variable(prefix)}`", " · ".join(filter(None, facts)), setting.comment)


def _text(default: Any) -> str:
    if default is PydanticUndefined:
        return "none: required"
    if default is None or str(default) in ("", "()") or str(default) == "**********":
        return "empty"
    return f"`{default}`"


def _bounds(field: FieldInfo) -> str:
    found = list[str]()
    for part in field.metadata:
        found += [f"{words} {getattr(part, name)}" for name, words in _BOUNDS.items() if hasattr(part, name)]
        if getattr(part, "pattern", None):
            found.append(f"matches `{part.pattern}`")
    return ", ".join(found)
