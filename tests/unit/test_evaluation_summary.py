"""Means, spreads, targets and the tables made of them."""

import math
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from recstack.data.synthetic import synthetic_world
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement, Outcome
from services.trainer.evaluation.protocol import Anchor, Metric, Protocol, Target
from services.trainer.evaluation.protocols import PROTOCOLS
from services.trainer.evaluation.summary import Summary, summarize
from services.trainer.evaluation.tables import content, markdown, sentence, terminal


def unused(bench: Bench, seed: int) -> Measurement:
    raise AssertionError("summaries measure nothing")


def outcome(entrant: str, seed: int, seconds: float | None = None, **metrics: float) -> Outcome:
    measured = Measurement(metrics=metrics, seconds=seconds, samples_per_second=seconds and 1000 * seconds)
    return Outcome(
        protocol="P", entrant=entrant, seed=seed, key="", settings={}, measured=measured, machine="", threads=1,
        git_revision="",
    )  # fmt: skip


PROTOCOL = Protocol(
    id="P",
    title="A protocol",
    note="What is read.",
    metrics=(Metric("auc", "AUC"), Metric("loss", "loss", higher_is_better=False), Metric("rare", "rare")),
    entrants=lambda: (
        Entrant(name="base", kind=Kind.BASELINE, measure=unused),
        Entrant(name="ours", kind=Kind.OURS, measure=unused),
        Entrant(name="other", kind=Kind.OURS, measure=unused),
    ),
    anchors=(Anchor("theirs", "A paper, 2024", {"auc": 0.79}),),
    targets=(
        Target(entrants=("ours", "other"), metric="auc", bound=0.80),
        Target(entrants=("ours",), metric="loss", bound=0.50),
        Target(entrants=("ours",), metric="auc", bound=0.70, times_baseline=1.2),
        Target(entrants=("absent",), metric="auc", bound=0.70),
        Target(entrants=("ours",), metric="samples_per_second", bound=5_000),
    ),
    published_on="synthetic",
)
OUTCOMES = [
    outcome("ours", 0, seconds=5.0, auc=0.80, loss=0.5),
    outcome("ours", 1, seconds=7.0, auc=0.84, loss=0.6),
    outcome("base", 0, auc=0.70),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    world = synthetic_world(users=40, items=60, events=1_000)
    return Bench(world, tmp_path_factory.mktemp("bench"), console=Console(quiet=True))


@pytest.fixture(scope="module")
def summary(bench: Bench) -> Summary:
    return summarize(PROTOCOL, OUTCOMES, bench)


def test_rows_are_ours_then_baselines_then_published(summary: Summary) -> None:
    assert [(row.name, row.kind, row.seeds) for row in summary.rows] == [
        ("ours", "ours", 2),
        ("base", "baseline", 1),
        ("theirs", "published", 0),
    ]


def test_mean_and_spread_are_over_seeds(summary: Summary) -> None:
    ours, base, _ = summary.rows
    assert ours.cells["auc"].mean == pytest.approx(0.82)
    assert ours.cells["auc"].spread == pytest.approx(math.sqrt(2 * 0.02**2))
    assert base.cells["auc"].spread is None
    assert ours.cells["seconds"].mean == 6.0


def test_targets_say_by_how_much(summary: Summary) -> None:
    assert [sentence(verdict) for verdict in summary.verdicts] == [
        "target AUC ≥ 0.8000 (ours): reached with 0.8200",
        "target loss ≤ 0.5000 (ours): missed by 0.0500",
        "target AUC ≥ 0.8400 (ours): missed by 0.0200",
        "target AUC ≥ 0.7000 (absent): not measured",
        "target samples/s ≥ 5,000 (ours): reached with 6,000",
    ]


def test_figures_of_other_data_are_not_shown_beside_ours(bench: Bench) -> None:
    summary = summarize(replace(PROTOCOL, published_on="ml-1m"), OUTCOMES, bench)
    assert [row.name for row in summary.rows] == ["ours", "base"]
    assert summary.verdicts == ()


def test_markdown_marks_whose_figures_they_are(summary: Summary) -> None:
    text = markdown(summary)
    assert "| | AUC | loss | seeds | train min | samples/s |" in text
    assert "| **ours** | 0.8200 ±.0283 | 0.5500 ±.0707 | 2 | 0.1 | 6,000 |" in text
    assert "| base | 0.7000 |  |  |  |  |" in text
    assert "| *theirs (A paper, 2024)* | 0.7900 |" in text


def test_the_terminal_shows_every_figure_on_80_columns(summary: Summary) -> None:
    console = Console(file=StringIO(), width=80)
    console.print(terminal(summary, console.width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    for text in ("0.8200", "±.0283", "(A paper,", "missed by 0.0500", "samples/s"):
        assert text in shown


def test_json_holds_the_same(summary: Summary) -> None:
    told = content(summary)
    assert told["rows"][0]["metrics"]["auc"]["mean"] == pytest.approx(0.82)
    assert [target["reached"] for target in told["targets"]] == [True, False, False, False, True]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.id)
def test_every_protocol_hangs_together(protocol: Protocol) -> None:
    entrants = protocol.entrants()
    names = [entrant.name for entrant in entrants]
    metrics = {metric.name for metric in protocol.metrics} | {"samples_per_second"}
    assert len(set(names)) == len(names)
    assert {entrant.kind for entrant in entrants} == {Kind.OURS, Kind.BASELINE}
    for target in protocol.targets:
        assert set(target.entrants) <= set(names), "a target that nobody can reach"
        assert target.metric in metrics
    for anchor in protocol.anchors:
        assert metrics & set(anchor.metrics)
    known = {(each.id, entrant.name) for each in PROTOCOLS for entrant in each.entrants()}
    assert {needed for entrant in entrants for needed in entrant.needs} <= known
