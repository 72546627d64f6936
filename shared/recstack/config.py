"""The one settings tree of every service and of the CLI.

Each value can be set in `recstack.toml` in the current directory, or by environment variable:
`RECSTACK_` + path with `__` between levels, for example `RECSTACK_RANKING__NUM_GPUS=1`.
`REDIS_URL` is understood without the prefix.
"""

import re
from functools import lru_cache
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from recstack.errors import StackError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundleSettings(_Section):
    """Where bundles live and how often servers look for a newly activated one."""

    store: str = Field("", description="fsspec URL or folder of the bundle store; empty means HOME/bundles")
    poll_seconds: float = Field(2.0, gt=0, description="how often a server checks which bundle is active")


class FeatureStoreSettings(_Section):
    """The feature store service."""

    address: str = Field("127.0.0.1:50052", description="host:port to listen on and to connect to")
    processes: int = Field(1, ge=1, description="processes that share the address; Redis is the only state")
    max_history: int = Field(4096, ge=1, description="interactions kept per user; the oldest fall off")
    max_items: int = Field(5000, ge=1, description="items per GetItems")
    max_events: int = Field(500, ge=1, description="events per WriteEvents")
    max_clock_skew_ms: int = Field(60_000, ge=0, description="how far in the future an event may lie")
    dedupe_seconds: int = Field(7 * 86_400, ge=1, description="how long an event id is remembered")
    durability: Literal["memory", "fsync"] = Field(
        "memory", description="'fsync' refuses to start unless Redis runs with appendfsync always"
    )
    min_replicas: int = Field(
        0, ge=0, description="replicas of Redis that must have an event before it is acknowledged; not with a cluster"
    )
    redis_timeout_ms: int = Field(200, ge=1, description="per Redis round trip")


class RetrievalSettings(_Section):
    """The retrieval service."""

    address: str = "127.0.0.1:50053"
    max_k: int = Field(2000, ge=1, description="candidates per channel")
    max_history: int = Field(500, ge=1, description="history events per request")
    threads: int = Field(1, ge=1, description="torch and faiss threads")
    device: str = Field("auto", description="auto, cpu or cuda")
    cold_start_interactions: int = Field(
        10, ge=0, description="items with at most so many interactions are the cold-start channel's"
    )
    exact_items: int = Field(30_000, ge=0, description="publishing builds an exact index up to so many items")
    max_index_bytes: int = Field(
        8 << 30, ge=0, description="publishing keeps values in one byte where an index would be larger"
    )


class RankingSettings(_Section):
    """The ranking service, on Ray Serve or plain grpc.aio."""

    address: str = "127.0.0.1:50054"
    engine: Literal["ray", "plain"] = "ray"
    plaintext: bool = Field(
        False, description="spoken to without TLS whatever the tls section says: Ray Serve's gRPC proxy has none"
    )
    replicas: int = Field(1, ge=1, description="Ray Serve replicas")
    num_gpus: float = Field(0.0, ge=0, description="GPUs per replica; 0 means CPU")
    num_cpus: float = Field(0.5, ge=0, description="logical CPUs per replica that Ray reserves")
    threads: int = Field(1, ge=1, description="torch threads per replica")
    max_candidates: int = Field(5000, ge=1, description="items per Rank")
    max_attributed_items: int = Field(100, ge=1, description="items per Attribute")
    max_history: int = Field(500, ge=1, description="history events per request")
    max_batch_requests: int = Field(16, ge=1, description="requests scored together")
    max_batch_pairs: int = Field(1_600_000, ge=1, description="candidates × history steps scored together")
    batch_wait_ms: float = Field(0.0, ge=0, description="how long a batch waits for company")
    max_queued: int = Field(128, ge=1, description="waiting requests before RESOURCE_EXHAUSTED")


class GatewaySettings(_Section):
    """The gateway service."""

    address: str = "127.0.0.1:50051"
    processes: int = Field(1, ge=1, description="processes that share the address; one fills a core")
    max_k: int = Field(200, ge=1, description="items per Recommend")
    max_explained_items: int = Field(20, ge=1, description="items per Explain")
    max_filter_items: int = Field(5000, ge=1, description="exclude_item_ids per request")
    history_length: int = Field(200, ge=1, description="history events given to the models")
    deadline_ms: int = Field(1000, ge=1, description="used when the caller sets no deadline")
    reserve_ms: int = Field(10, ge=0, description="kept back from the deadline to build the answer")
    two_tower_k: int = Field(350, ge=0, description="candidates asked of the two-tower channel")
    item_to_item_k: int = Field(100, ge=0)
    popular_k: int = Field(100, ge=0)
    fresh_k: int = Field(50, ge=0)
    cold_start_k: int = Field(20, ge=0, description="items with few interactions, by content; empty without a model")
    max_candidates: int = Field(500, ge=1, description="candidates ranked per request")
    arm: str = Field(
        "",
        pattern=r"^[\w.-]{0,64}$",
        description="name of this gateway's side of an experiment; empty: an answer's arm is its ranking bundle",
    )
    diversity: float = Field(0.1, ge=0, le=1, description="0 = pure relevance; higher spreads genres")
    display_cache_seconds: float = Field(
        60.0,
        ge=0,
        description="how long titles, years and genres that were read are used again; 0 reads them each time",
    )


class TtlSettings(_Section):
    """Time to live of feature sets, seconds; 0 means forever. Enforced when a row is read."""

    user: int = Field(400 * 86_400, ge=0)
    item: int = Field(0, ge=0)


class TlsSettings(_Section):
    """Encryption of all gRPC (docs/security.md): PEM files, read again when they are renewed. Off without them."""

    certificate: str = Field("", description="certificate chain that this process shows; services then speak TLS alone")
    key: str = Field("", description="its private key")
    authority: str = Field("", description="certificates of whom to trust; calls to services then go over TLS")
    mutual: bool = Field(False, description="services answer only callers with a certificate of the authority")
    health_port: int = Field(
        0, ge=0, le=65_535, description="where services answer health checks, and nothing else, without TLS; 0: nowhere"
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("tls.certificate and tls.key belong together: set both or none")
        if self.mutual and not (self.certificate and self.authority):
            raise ValueError("tls.mutual needs tls.certificate, tls.key and tls.authority")
        return self


class MetricsSettings(_Section):
    """Prometheus metrics of every service."""

    port: int = Field(0, ge=0, le=65_535, description="where a service serves /metrics; 0 means nowhere")
    host: str = Field("0.0.0.0", description="address to serve metrics on")


class TracingSettings(_Section):
    """OpenTelemetry traces of every service."""

    endpoint: str = Field(
        "", pattern="^(https?://.+)?$", description="OTLP/gRPC collector, for example http://127.0.0.1:4317; empty: off"
    )
    sample_ratio: float = Field(1.0, ge=0, le=1, description="share of traces kept, of those that no caller has begun")


class Settings(BaseSettings):
    """Everything that can be configured, validated on start; unknown keys are errors."""

    model_config = SettingsConfigDict(
        env_prefix="RECSTACK_",
        env_nested_delimiter="__",
        toml_file="recstack.toml",
        frozen=True,
        extra="forbid",
    )

    home: Path = Field(Path(".recstack"), description="cache folder: data, runs, bundles, logs, state")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = Field("text", description="of the log lines on stderr")
    redis_url: str = Field(
        "redis://127.0.0.1:6390/0",
        validation_alias=AliasChoices("REDIS_URL", "RECSTACK_REDIS_URL", "redis_url"),
        description="redis://host:port/db, rediss:// for TLS, redis+cluster://host:port for a Redis Cluster, or "
        "redis+sentinel://host:port,host:port/service/db for the master that Sentinels name",
    )
    drain_seconds: float = Field(5.0, ge=0, description="time that in-flight calls get on SIGTERM")
    bundle: BundleSettings = BundleSettings()
    ttl: TtlSettings = TtlSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    tls: TlsSettings = TlsSettings()
    feature_store: FeatureStoreSettings = FeatureStoreSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    ranking: RankingSettings = RankingSettings()
    gateway: GatewaySettings = GatewaySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: arguments, environment, recstack.toml."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def bundle_store(self) -> str:
        """URL or folder of the bundle store."""
        return self.bundle.store or str(self.home.resolve() / "bundles")

    @property
    def redis_name(self) -> str:
        """The Redis URL for messages: without user, password and options."""
        return re.sub("//[^/@]*@", "//", self.redis_url).partition("?")[0]


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The process's settings, read once. Tests build `Settings(...)` themselves.

    Raises StackError that names each value which is not as it should be.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']} (got {problem['input']!r})"
            for problem in error.errors()
        ]
        raise StackError("\n  ".join(["bad settings in recstack.toml or the environment", *problems])) from error
    except TOMLDecodeError as error:
        raise StackError(f"recstack.toml is not TOML: {error}") from error
