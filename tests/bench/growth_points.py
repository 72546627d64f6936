"""One point of a growth curve: a world of some size, served by a whole stack, and what a request costs there."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil
import redis

from recstack import Client, RecommendationList
from recstack.config import Settings
from recstack.local import LocalStack
from services.feature_store import keys
from tests.bench.stack_cpu import cpu_seconds, stack_processes
from tests.bench.world import make_world, world_settings

K = 20
WARM_UP = 40
PATIENT_S = 30.0
"""Seconds that a request may take: a point that is slow must be measured, not cut off by a deadline."""
SAMPLED_KEYS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a point is about. history: stored events per user, all of which the models read."""

    items: int
    users: int
    history: int
    candidates: int

    def settings(self, folder: Path) -> Settings:
        """The settings of a stack of this size, its world made if `folder` does not hold it yet."""
        home = make_world(folder, items=self.items, users=self.users, history=self.history).home
        settings = world_settings(home, self.history, self.candidates)
        features = settings.feature_store.model_copy(update={"redis_timeout_ms": 5000})
        gateway = settings.gateway.model_copy(update={"deadline_ms": int(PATIENT_S * 1000)})
        return settings.model_copy(update={"feature_store": features, "gateway": gateway})


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Cost of one Recommend at a size, one caller at a time.

    cpu_ms: CPU milliseconds by service. p50_ms, p99_ms: wall, as the caller sees it. ranked: median of candidates that
    were ranked. degraded: answers that were; their costs mean little. user_bytes: Redis memory per user, items not
    counted. resident_mb: by process.
    """

    size: Size
    requests: int
    cpu_ms: Mapping[str, float]
    p50_ms: float
    p99_ms: float
    stages_ms: Mapping[str, float]
    ranked: float
    degraded: int
    user_bytes: float
    resident_mb: Mapping[str, float]

    @property
    def total_cpu_ms(self) -> float:
        """CPU milliseconds of all services and Redis."""
        return sum(self.cpu_ms.values())

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self) | {"total_cpu_ms": self.total_cpu_ms}


def measure(size: Size, folder: Path, requests: int) -> Point:
    """The cost at this size, of a stack that is started for it, with an empty Redis that it loads the features into."""
    settings = size.settings(folder)
    with (
        tempfile.TemporaryDirectory(prefix="recstack-bench-") as redis_folder,
        LocalStack(settings, ranking="plain", free_ports=True, redis_folder=Path(redis_folder)) as stack,
    ):
        return observe(stack, size, requests)


def observe(stack: LocalStack, size: Size, requests: int, warm_up: int = WARM_UP) -> Point:
    """The cost of a running stack of this size: `requests` users are asked for once each, one after another."""
    users = np.random.default_rng(0).permutation(np.arange(1, size.users + 1))[: warm_up + requests].tolist()
    # Without children ("redis: other"): they come and go, as Redis's does when it rewrites its file.
    processes = {pid: name for pid, name in stack_processes(stack).items() if ":" not in name}
    with stack.client(timeout=PATIENT_S) as client:
        _ask(client, users[:warm_up])
        before = cpu_seconds(processes)
        answers, wall_ms = _ask(client, users[warm_up:])
        after = cpu_seconds(processes)
    ranked = [min(answer.candidates, size.candidates) for answer in answers]
    return Point(
        size=size,
        requests=len(answers),
        cpu_ms={name: (after[name] - before[name]) / len(answers) * 1e3 for name in after},
        p50_ms=float(np.percentile(wall_ms, 50)),
        p99_ms=float(np.percentile(wall_ms, 99)),
        stages_ms=_median_stages(answers),
        ranked=float(np.median(ranked)),
        degraded=sum(bool(answer.degraded) for answer in answers),
        user_bytes=_user_bytes(stack.settings.redis_url, size),
        resident_mb=_resident_mb(processes),
    )


def _ask(client: Client, users: Sequence[int]) -> tuple[list[RecommendationList], list[float]]:
    """One Recommend per user; also the wall milliseconds of each."""
    answers, wall_ms = [], []
    for user in users:
        started = perf_counter()
        answers.append(client.recommend(user, K))
        wall_ms.append((perf_counter() - started) * 1e3)
    return answers, wall_ms


def _median_stages(answers: Sequence[RecommendationList]) -> dict[str, float]:
    """Median milliseconds by stage of the gateway."""
    by_stage: dict[str, list[float]] = {}
    for answer in answers:
        for timing in answer.timings:
            by_stage.setdefault(timing.stage, []).append(timing.duration_ms)
    return {stage: float(np.median(values)) for stage, values in by_stage.items()}


def _user_bytes(redis_url: str, size: Size) -> float:
    """Bytes of Redis memory per user: all that the data takes, less what a sample of item rows takes each."""
    with redis.Redis.from_url(redis_url) as client:
        memory = client.info("memory")
        items = [key for key, _ in zip(client.scan_iter(keys.item(0)[:-1] + b"*"), range(SAMPLED_KEYS), strict=False)]
        item_bytes = np.mean([client.memory_usage(key, samples=0) for key in items])
    data = memory["used_memory"] - memory["used_memory_startup"]
    return float((data - item_bytes * size.items) / size.users)


def _resident_mb(processes: Mapping[int, str]) -> dict[str, float]:
    """Resident megabytes by service."""
    return {name: psutil.Process(pid).memory_info().rss / 1e6 for pid, name in processes.items()}
