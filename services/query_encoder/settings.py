"""Settings of the query encoder: KAIROS_QUERY_ENCODER_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings
from services.query_encoder.domain.picture_limits import PictureLimits


class QueryEncoderSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_QUERY_ENCODER_", protected_namespaces=())

    data_dir: Path = Path("var/query_encoder")
    # Where the shop's own words are: a file below data_dir, or a Redis that replicas on several machines share.
    lexicon: Literal["sqlite", "redis"] = "sqlite"
    # For example redis://redis:6379/0. Needed where lexicon is redis.
    redis_url: str = ""
    # A sentence-transformer (config.json, tokenizer.json, safetensors). None: the embedded all-MiniLM-L6-v2.
    model_dir: Path | None = None
    # Names the vectors. Change it with the model.
    model_version: str = Field(default="all-minilm-l6-v2@1", min_length=1)
    # A second model that is served beside the first while the catalogue goes from the one to the other: see
    # docs/running.md. The version names its vectors; empty: there is none. No folder: the embedded model.
    other_model_version: str = ""
    other_model_dir: Path | None = None
    # Where exported models are kept.
    model_cache_dir: Path = Path("var/models")
    backend: Literal["onnx-int8", "onnx-fp32", "torch"] = "onnx-int8"
    # Of the backend torch; ONNX Runtime stays on the CPU.
    device: Literal["cpu", "cuda"] = "cpu"
    # Threads that share one inference.
    threads: int = Field(default=1, ge=1)
    # Inferences of an import at the same time, each with `threads`.
    bulk_threads: int = Field(default=2, ge=1)
    max_query_tokens: int = Field(default=64, ge=4, le=512)
    # The rest of a product's text goes to the lexical half only.
    max_product_tokens: int = Field(default=64, ge=4, le=512)
    max_batch: int = Field(default=16, ge=1)
    # v_q = alpha * q + beta * mean(context).
    alpha: float = Field(default=1.0, gt=0)
    beta: float = Field(default=0.15, ge=0)
    # A folder as `python -m training.pictures` or `python -m training.pictures.export` writes it. None: no pictures.
    picture_model_dir: Path | None = None
    # Names the pictures' vectors. Empty: the folder's name and a digest of the model.
    picture_model_version: str = ""
    max_picture_bytes: int = Field(default=PictureLimits.max_bytes, ge=1)
    # Decoded, each takes four bytes.
    max_picture_pixels: int = Field(default=PictureLimits.max_pixels, ge=1)
    # A shop's own concept graph (the form of concepts.yaml) in place of the embedded one, and one that adds to it.
    concepts_file: Path | None = None
    extra_concepts_file: Path | None = None
    # A folder as `python -m training.understanding` writes it. None: queries are not classified.
    understanding_model_dir: Path | None = None
    # Currency of prices that a query states without one ("under 100").
    default_currency: str = Field(default="USD", pattern="^[A-Z]{3}$")

    @model_validator(mode="after")
    def _goes_together(self) -> QueryEncoderSettings:
        if self.lexicon == "redis" and not self.redis_url:
            raise ValueError("redis_url is empty; name the Redis, for example redis://redis:6379/0")
        if self.device == "cuda" and self.backend != "torch":
            raise ValueError("device cuda needs the backend torch")
        return self

    @model_validator(mode="after")
    def _two_models_have_two_names(self) -> QueryEncoderSettings:
        if self.other_model_dir is not None and not self.other_model_version:
            raise ValueError("other_model_version is empty; name the vectors of other_model_dir")
        if self.other_model_version == self.model_version:
            raise ValueError("other_model_version is that of the first model; give each its own")
        return self
