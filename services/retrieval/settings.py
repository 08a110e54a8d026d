"""Settings of retrieval: KAIROS_RETRIEVAL_*."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings


class Bm25Settings(BaseModel):
    """Weights of the lexical leg. Chosen on 50 % of the Home Depot queries; see benchmarks/search_quality.py.

    They are part of what is stored: a change needs a new import.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Saturation of repeated words: low, since a repeated word in a title says little.
    k: float = Field(default=0.5, ge=0)
    # Normalisation by length.
    b: float = Field(default=0.5, ge=0, le=1)
    # Usual number of words in titles and brand.
    heading_length: float = Field(default=10, gt=0)
    # Usual number of words in categories, attributes and description.
    body_length: float = Field(default=50, gt=0)
    # Weight of a word of the body; one of the heading has 1.
    body_weight: float = Field(default=0.4, ge=0)


class FusionSettings(BaseModel):
    """How the legs of a search become one order. Can change at any time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # linear: weighted sum of the scores of each leg, scaled to [0, 1] over what the leg found; rrf: reciprocal ranks
    # (Cormack et al., SIGIR 2009); dbsf: distribution-based scores without weights; learned: a network, see
    # training/search.
    method: Literal["linear", "rrf", "dbsf", "learned"] = "linear"
    # The folder of the learned fusion. Searches with several vectors, with an image, without words, or with
    # similar_to_id use the fixed weights.
    model_dir: Path | None = None
    dense_weight: float = Field(default=0.3, gt=0)
    lexical_weight: float = Field(default=0.7, gt=0)
    # An image counts as much as the text and its vector together: a shopper who sends one means it. Not tuned.
    image_weight: float = Field(default=1.0, gt=0)
    rrf_k: int = Field(default=60, gt=0)

    @model_validator(mode="after")
    def _learned_has_a_model(self) -> FusionSettings:
        if self.method == "learned" and self.model_dir is None:
            raise ValueError("fusion.model_dir is empty; name the directory of the learned fusion")
        return self


class EdgeSettings(BaseModel):
    """Qdrant in this process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_search_threads: int = Field(default=1, ge=1)
    # Changed products after which the collection is optimised (vector graph, merged segments) in the background.
    optimize_after: int = Field(default=5_000, ge=1)
    # Seconds without a write before that begins.
    optimize_idle_s: float = Field(default=3.0, ge=0)
    # How long a start waits for another process to release the folder.
    lock_timeout_s: float = Field(default=10.0, ge=0)


class ServerSettings(BaseModel):
    """A Qdrant server or cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = ""
    api_key: SecretStr = SecretStr("")
    prefer_grpc: bool = True
    timeout_s: float = Field(default=5.0, gt=0)
    # A tenant's collection is <prefix><tenant>.
    collection_prefix: str = "kairos-"


class RetrievalSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAIROS_RETRIEVAL_")

    engine: Literal["edge", "server"] = "edge"
    # The folder of Edge's collections, with one folder a tenant.
    data_dir: Path = Path("var/retrieval")
    # Threads of searches. Reads by id and writes have threads of their own.
    workers: int = Field(default=4, ge=1)
    # MiB of answers to repeated searches that are kept while the tenant's products do not change; one of 200 candidates
    # takes some 300 KiB. With 0 nothing is kept, and identical searches in flight are answered one by one. Only with
    # engine=edge: a server's collections are also written by other processes.
    answer_cache_mb: int = Field(default=64, ge=0)
    # The file of KAIROS_RANKER_ATTRIBUTES_FILE: candidates then have the attributes that users may declare as features.
    attributes_file: Path | None = None
    # The registry of learned models, the same folder as that of the ranker: its text models have a
    # fusion each, which counts instead of `fusion` in collections with their vectors. Unset: there are none.
    registry_dir: Path | None = None
    # URL of the registry on an object store, as the ranker's; the folder is then its mirror. Empty: the folder is the
    # registry.
    registry_url: str = ""
    # The interval at which the registry is read.
    registry_poll_s: float = Field(default=1.0, gt=0)
    bm25: Bm25Settings = Bm25Settings()
    fusion: FusionSettings = FusionSettings()
    edge: EdgeSettings = EdgeSettings()
    server: ServerSettings = ServerSettings()

    @model_validator(mode="after")
    def _check_combinations(self) -> RetrievalSettings:
        if self.registry_url and self.registry_dir is None:
            raise ValueError("registry_dir is empty; name the folder of the registry's mirror")
        if self.engine == "server" and not self.server.url:
            raise ValueError("server.url is empty; name the Qdrant server, for example http://qdrant:6334")
        return self
