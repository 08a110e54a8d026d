"""Settings of the query encoder: KAIROS_QUERY_ENCODER_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.limits import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS
from services.common.settings import ServiceSettings


class QueryEncoderSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_QUERY_ENCODER_", protected_namespaces=())

    # Folder of the service's state.
    data_dir: Path = Path("var/query_encoder")
    # Where the shop's own words are kept: a file in data_dir, or a Redis that replicas on several machines share.
    lexicon: Literal["sqlite", "redis"] = "sqlite"
    # URL of that Redis, for example redis://redis:6379/0. Required if lexicon is redis.
    redis_url: str = ""
    # Folder of a sentence-transformer (modules.json, or config.json alone; tokenizer.json, safetensors). None: the
    # embedded all-MiniLM-L6-v2.
    model_dir: Path | None = None
    # Name of the vectors. Change it together with the model.
    model_version: str = Field(default="all-minilm-l6-v2@1", min_length=1)
    # A second model, served as well while the catalogue changes from one model to the other: see
    # docs/how-to/new-encoder.md. The version names its vectors; empty: there is no second model. Without a folder it is
    # the embedded model.
    other_model_version: str = ""
    other_model_dir: Path | None = None
    # The registry of learned models, the same folder as that of the ranker: its text models and image encoders serve
    # beside those of the settings, and its understanding models classify queries. Unset: there are none.
    registry_dir: Path | None = None
    # URL of the registry on an object store, as the ranker's; the folder is then its mirror. Empty: the folder is the
    # registry.
    registry_url: str = ""
    # The interval at which the registry is read.
    registry_poll_s: float = Field(default=1.0, gt=0)
    # Folder of models that were exported to ONNX.
    model_cache_dir: Path = Path("var/models")
    # What runs the text model.
    backend: Literal["onnx-int8", "onnx-fp32", "torch"] = "onnx-int8"
    # Where the backend torch runs. ONNX Runtime always runs on the CPU.
    device: Literal["cpu", "cuda"] = "cpu"
    # Threads of one inference.
    threads: int = Field(default=1, ge=1)
    # Inferences of imports that run at the same time, each with `threads` threads.
    bulk_threads: int = Field(default=2, ge=1)
    # Word pieces of a query that the model reads; the rest is ignored.
    max_query_tokens: int = Field(default=64, ge=4, le=512)
    # Word pieces of a product's text that the model reads; the lexical leg of retrieval reads all of the text.
    max_product_tokens: int = Field(default=64, ge=4, le=512)
    # Queries of one batch. The backend onnx-int8 encodes one query at a time.
    max_batch: int = Field(default=16, ge=1)
    # MiB of vectors of recent queries and categories that each text encoder keeps; an entry takes about 2 KiB. With 0
    # nothing is kept, and identical queries in flight are encoded one by one.
    vector_cache_mb: int = Field(default=32, ge=0)
    # Weights of a query and of its context: vector = alpha * query + beta * mean(context), scaled to length 1.
    alpha: float = Field(default=1.0, gt=0)
    beta: float = Field(default=0.15, ge=0)
    # Folder of an image encoder, as `python -m training.pictures.export` writes it, for tenants without a trained
    # version. None: their images are not encoded.
    image_model_dir: Path | None = None
    # Name of the image vectors. Empty: the folder's name and a digest of the model.
    image_model_version: str = ""
    # Size of an image file in bytes.
    max_image_bytes: int = Field(default=MAX_IMAGE_BYTES, ge=1)
    # Pixels of a decoded image; each takes up to 24 bytes of memory while it is decoded. A side has at most 16,384.
    max_image_pixels: int = Field(default=MAX_IMAGE_PIXELS, ge=1, le=100_000_000)
    # Seconds that decoding one image may take, of time and of CPU time; the process that decodes it is then ended.
    max_image_decode_s: float = Field(default=5, gt=0)
    # Folder of the domain: concepts, stop words, conditions, intents, texts. See docs/how-to/domains.md. None: retail.
    domain_dir: Path | None = None
    # A concept graph, in the form of the domain's concepts.yaml, instead of the domain's own.
    concepts_file: Path | None = None
    # Concepts that are added to the graph, in the same form.
    extra_concepts_file: Path | None = None
    # Currency of a price that a query states without a currency ("under 100").
    default_currency: str = Field(default="USD", pattern="^[A-Z]{3}$")

    @model_validator(mode="after")
    def _check_combinations(self) -> QueryEncoderSettings:
        if self.lexicon == "redis" and not self.redis_url:
            raise ValueError("redis_url is empty; set the URL of the Redis, for example redis://redis:6379/0")
        if self.device == "cuda" and self.backend != "torch":
            raise ValueError("device cuda needs the backend torch")
        if self.other_model_dir is not None and not self.other_model_version:
            raise ValueError("other_model_version is empty; name the vectors of other_model_dir")
        if self.registry_url and self.registry_dir is None:
            raise ValueError("registry_dir is empty; name the folder of the registry's mirror")
        if self.other_model_version == self.model_version:
            raise ValueError("other_model_version equals model_version; give each model a name of its own")
        return self
