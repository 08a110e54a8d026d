"""Settings of the assistant: KAIROS_ASSISTANT_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from services.assistant.model_settings import ModelSettings
from services.common.server_access import ServerAccessSettings
from services.common.settings import ServiceSettings


class ShopAccessSettings(ServerAccessSettings):
    """The gateway. Each call has the API key of the caller of Converse: there is no key here."""

    target: str = "127.0.0.1:50050"
    # Seconds that one call may take; less if the turn has less.
    timeout_s: float = Field(default=2.0, gt=0)


class OrdersSettings(ServerAccessSettings):
    """The shop's own OrderStatusService. Without a target the assistant cannot look up orders."""

    target: str = ""
    timeout_s: float = Field(default=2.0, gt=0)


class AnswerSettings(BaseModel):
    """What answers contain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Products that an answer shows.
    cards: int = Field(default=5, ge=1, le=20)
    # Which question is asked: the one that narrows most by expected information; a random one, and none, are baselines.
    questions: Literal["information", "random", "none"] = "information"


class AssistantSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_ASSISTANT_")

    gateway: ShopAccessSettings = ShopAccessSettings()
    orders: OrdersSettings = OrdersSettings()
    answers: AnswerSettings = AnswerSettings()
    # Seconds of a turn whose call has no earlier deadline.
    turn_s: float = Field(default=10.0, gt=0)
    model: ModelSettings = ModelSettings()
    # A folder with own rules of what is not answered: docs/how-to/assistant-model.md. None: the built-in ones.
    safety_dir: Path | None = None
    # The folder of the domain, as KAIROS_QUERY_ENCODER_DOMAIN_DIR. None: retail.
    domain_dir: Path | None = None
