"""The plots of a result with their captions."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from tests.load.report.latency_by_rate import latency_by_rate
from tests.load.report.percentile_curves import percentile_curves
from tests.load.report.stages_by_rate import stages_by_rate
from tests.load.report.timeline import timeline
from tests.load.report.waterfall import waterfall
from tests.load.result import Result


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure, the name of its file without ending, and what it shows."""

    name: str
    caption: str
    figure: Figure


def plots(result: Result) -> list[Plot]:
    """All plots that there is something for."""
    made = []
    if result.knee:
        caption = (
            "Percentiles of Recommend's latency at each rate of the search. Rings are rates that broke the target. "
            "Below, the share of errors by kind, and of degraded answers by component."
        )
        made.append(Plot("latency-by-rate", caption, latency_by_rate(result)))
        caption = (
            "Mean time in each stage of a Recommend at each rate up to just beyond the knee: the stage that grows is "
            "the one that limits."
        )
        made.append(Plot("stages-by-rate", caption, stages_by_rate(result)))
    if result.recording.calls:
        caption = (
            "The latency that a share of all calls did not exceed; each step to the right has a tenth of the calls. "
            "The dashed line counts from the actual send, and so leaves out what a call waited for its turn."
        )
        made.append(Plot("percentiles", caption, percentile_curves(result.recording, result.load)))
    if result.recording.stages:
        caption = (
            "Where the time of a Recommend goes: mean durations, which add up, one stage after the other and their "
            "parts below them. The numbers are p50 and p99."
        )
        made.append(Plot("waterfall", caption, waterfall(result.recording, result.load)))
    caption = "Second by second: Recommend's latency, and how many of all calls were answered, degraded or failed."
    made.append(Plot("timeline", caption, timeline(result.recording, result.load)))
    return made
