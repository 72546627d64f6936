"""What a load run found, as values that the table, the JSON file and the page are made from."""

from dataclasses import asdict, dataclass
from typing import Any

from tests.load.crew import CrewOptions
from tests.load.knee import Knee, Step, Target
from tests.load.place import Place
from tests.load.recorder import Histogram, Recording, RpcRecording
from tests.load.traffic import RECOMMEND

PERCENTS = (50.0, 90.0, 99.0, 99.9)
TOTAL = "total"
"""The stage that spans all others."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run in detail, and the search that chose its rate, where there was one.

    load: what `recording` was made under, in words. step: the same as a step of a search, judged by `target`.
    """

    place: Place
    options: CrewOptions
    machine: str
    load: str
    step: Step
    target: Target
    knee: Knee | None = None

    @property
    def recording(self) -> Recording:
        """Of the run in detail."""
        return recording_of(self.step)

    @property
    def steps(self) -> list[Step]:
        """The step that decided at each rate of the search, in order of rate; the run alone without a search."""
        steps = self.knee.steps if self.knee else (self.step,)
        decisive = {step.rate: step for step in steps}
        return [decisive[rate] for rate in sorted(decisive)]


def recording_of(step: Step) -> Recording:
    """The recording of a step that the harness ran."""
    assert step.recording is not None
    return step.recording


def stage_names(recording: Recording) -> list[str]:
    """Stages in the order in which they run, each followed by its components, and these by their parts; TOTAL is last.

    "score" is a stage, "score/ranking" its component and "score/ranking.queue" a part of that.
    """
    names = [name for name in recording.stages if name != TOTAL]
    ordered: list[str] = []
    for stage in (name for name in names if depth(name) == 0):
        ordered.append(stage)
        for component in (name for name in names if depth(name) == 1 and name.startswith(f"{stage}/")):
            ordered.append(component)
            ordered += (name for name in names if name.startswith(f"{component}."))
    left_over = [name for name in names if name not in ordered]
    return ordered + left_over + [TOTAL] * (TOTAL in recording.stages)


def depth(stage: str) -> int:
    """0 for a stage, 1 for a component, 2 for a part of a component."""
    _, slash, component = stage.partition("/")
    return bool(slash) + ("." in component)


def to_json(result: Result) -> dict[str, Any]:
    """Everything as plain data; histograms also whole, in HdrHistogram's own encoding."""
    knee = result.knee
    return {
        "machine": result.machine,
        "place": asdict(result.place),
        "options": asdict(result.options),
        "target": asdict(result.target),
        "load": result.load,
        "knee": knee and {"rate": knee.rate, "limit": knee.limit, "by_generator": knee.by_generator},
        "steps": [_step(step, result.target) for step in knee.steps] if knee else [],
        "run": _step(result.step, result.target) | {"timeline": _timeline(result.recording)},
    }


def _step(step: Step, target: Target) -> dict[str, Any]:
    recording = recording_of(step)
    return {
        "rate": step.rate,
        "broken_by": list(target.broken_by(step)),
        "generator_to_blame": target.generator_to_blame(step),
        "seconds": recording.seconds,
        "error_share": step.error_share,
        "degraded_share": step.degraded_share,
        "rpcs": {name: _rpc(rpc, recording.seconds) for name, rpc in sorted(recording.rpcs.items())},
        "stages_ms": {name: percentiles(recording.stages[name]) for name in stage_names(recording)},
        "generator": {"lag_ms": percentiles(recording.lag), "cpu_seconds": round(recording.cpu_seconds, 3)},
        "counts": dict(sorted(recording.counts.items())),
    }


def _rpc(rpc: RpcRecording, seconds: float) -> dict[str, Any]:
    return {
        "calls": rpc.calls,
        "calls_per_second": round(rpc.calls / seconds, 2),
        "errors": dict(rpc.errors),
        "degraded_calls": rpc.degraded_calls,
        "degraded": dict(rpc.degraded),
        "latency_ms": percentiles(rpc.latency),
        "latency_from_send_ms": percentiles(rpc.latency_from_send),
        "hdr": rpc.latency.encode(),
    }


def _timeline(recording: Recording) -> list[dict[str, Any]]:
    return [
        {
            "second": second,
            "calls": tick.calls,
            "errors": tick.errors,
            "degraded": tick.degraded,
            "latency_ms": percentiles(tick.latency),
        }
        for second, tick in sorted(recording.ticks.items())
    ]


def percentiles(histogram: Histogram) -> dict[str, float]:
    """Mean, PERCENTS and maximum, milliseconds."""
    values = {f"p{percent:g}": value for percent, value in histogram.percentiles(PERCENTS).items()}
    return {"mean": round(histogram.mean, 3), **values, "max": histogram.max}


def headline(result: Result) -> str:
    """The finding in one sentence."""
    knee = result.knee
    if knee is None:
        return f"{result.load}: {verdict(result.step, result.target)}"
    if not knee.rate or knee.step is None:
        return f"No rate held the target. {knee.limit}"
    recording = recording_of(knee.step)
    pages = recording.rpcs[RECOMMEND].calls / recording.seconds
    sentence = f"Knee: {knee.rate:.4g} requests/s, {pages:.4g} of them {RECOMMEND}, with p99 {knee.step.p99_ms:.1f} ms"
    blame = "; the load generator was late, the server may do more" if knee.by_generator else ""
    return f"{sentence}. {knee.limit[:1].upper()}{knee.limit[1:]}{blame}"


def verdict(step: Step, target: Target) -> str:
    """Whether the target holds at a step, in words."""
    broken = target.broken_by(step)
    if not broken:
        return "holds"
    late = f" (load generator late: p99 {step.lag_p99_ms:.0f} ms)" if target.generator_to_blame(step) else ""
    return ", ".join(broken) + late
