"""Settings of the language model: which one, and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EndpointSettings(_Group):
    """An endpoint with OpenAI's API. Limits of a day hold for each tenant and replica."""

    # For example "http://vllm:8000/v1". Empty: no endpoint.
    base_url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    model: str = ""
    # Absent: the endpoint wants none.
    api_key: SecretStr | None = None
    # Seconds for a whole answer. Templates answer what the model did not.
    timeout_s: float = Field(default=8.0, gt=0, le=60)
    # Whether the model may read further facts of the turn with a tool. False for endpoints without tool calls.
    tools: bool = True
    temperature: float = Field(default=0.2, ge=0, le=2)
    most_prompt_tokens: int = Field(default=16_000, ge=500)
    most_answer_tokens: int = Field(default=400, ge=16, le=4_000)
    # Tokens of prompts and answers together.
    daily_tokens: int = Field(default=2_000_000, ge=0)
    # In the currency of the prices for a million tokens. Prices of 0: only the tokens are limited.
    daily_cost: float = Field(default=10.0, ge=0)
    prompt_price: float = Field(default=0.0, ge=0)
    completion_price: float = Field(default=0.0, ge=0)
    # Calls that a replica makes at the same time.
    most_calls: int = Field(default=16, ge=1)
    # Failures after which calls are paused, and seconds between two that try again.
    failures_to_open: int = Field(default=5, ge=1)
    probe_s: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _has_model(self) -> Self:
        if self.base_url and not self.model:
            raise ValueError("model is empty; name the model of the endpoint")
        return self


class LocalModelSettings(_Group):
    """A causal model of `transformers`, in this process. It needs the extra query-encoder-export."""

    # A folder with config.json, the weights and the tokenizer. Absent: no local model.
    folder: Path | None = None
    timeout_s: float = Field(default=20.0, gt=0, le=300)
    most_prompt_tokens: int = Field(default=4_000, ge=100)
    most_answer_tokens: int = Field(default=200, ge=8, le=2_000)


class ModelSettings(_Group):
    """At most one of the two. Neither: templates alone."""

    endpoint: EndpointSettings = EndpointSettings()
    local: LocalModelSettings = LocalModelSettings()

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.endpoint.base_url and self.local.folder:
            raise ValueError("endpoint.base_url and local.folder are both set; set one of them")
        return self
