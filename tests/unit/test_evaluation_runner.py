"""What is measured, in which order, how often, and what a failure costs."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from recstack.data.synthetic import synthetic_world
from recstack.errors import InvalidRequestError, RecStackError
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement
from services.trainer.evaluation.protocol import Metric, Protocol
from services.trainer.evaluation.runner import plan, run

QUIET = Console(quiet=True)


def measure_one(bench: Bench, seed: int) -> Measurement:
    """Also counts itself, in a file, because it may run in another process."""
    with (bench.folder / "calls").open("a") as file:
        file.write("x")
    return Measurement(metrics={"auc": 0.5 + seed / 10}, arrays={"test": np.full(3, seed)})


def measure_sum(bench: Bench, seed: int) -> Measurement:
    needed = bench.outcome("P", "one", seed).measured
    return Measurement(metrics={"auc": needed.metrics["auc"] + float(needed.arrays["test"].sum())})


def measure_nothing(bench: Bench, seed: int) -> Measurement:
    raise ValueError("broken on purpose")


ONE = Entrant(name="one", kind=Kind.OURS, measure=measure_one)
SUM = Entrant(name="sum", kind=Kind.OURS, measure=measure_sum, needs=(("P", "one"),))
FIXED = Entrant(name="fixed", kind=Kind.BASELINE, measure=measure_one, seeded=False)
BROKEN = Entrant(name="broken", kind=Kind.OURS, measure=measure_nothing, seeded=False)


def protocol(*entrants: Entrant, name: str = "P") -> Protocol:
    return Protocol(id=name, title="", note="", metrics=(Metric("auc", "AUC"),), entrants=lambda: entrants)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(synthetic_world(users=40, items=60, events=1_000), tmp_path, console=QUIET)


def calls(bench: Bench) -> int:
    return len((bench.folder / "calls").read_text())


def test_every_seed_is_measured_and_what_the_seed_does_not_matter_for_once() -> None:
    jobs = plan([protocol(ONE, FIXED)], [], 3, [protocol(ONE, FIXED)])
    assert [str(job) for job in jobs] == ["P one, seed 0", "P one, seed 1", "P one, seed 2", "P fixed"]


def test_what_an_entrant_needs_comes_first_even_from_a_protocol_that_was_not_asked_for() -> None:
    other = protocol(SUM, name="Q")
    jobs = plan([other], [], 1, [protocol(ONE), other])
    assert [str(job) for job in jobs] == ["P one, seed 0", "Q sum, seed 0"]


def test_an_unknown_entrant_is_named_with_those_that_exist() -> None:
    with pytest.raises(InvalidRequestError, match="no entrant two in these protocols; there are fixed, one"):
        plan([protocol(ONE, FIXED)], ["two"], 1, [protocol(ONE, FIXED)])


@pytest.mark.parametrize("processes", [1, 2])
def test_outcomes_are_kept_and_entrants_build_on_them(bench: Bench, processes: int) -> None:
    jobs = plan([protocol(SUM, ONE)], [], 2, [protocol(SUM, ONE)])
    assert run(bench, jobs, processes, QUIET) == 0
    outcome = bench.outcome("P", "sum", 1)
    assert outcome.measured.metrics == {"auc": pytest.approx(0.6 + 3)}
    assert bench.finished("P", SUM, 1) is not None
    assert calls(bench) == 2


def test_a_failure_costs_the_others_nothing_and_leaves_its_trace(bench: Bench) -> None:
    both = protocol(BROKEN, ONE)
    assert run(bench, plan([both], [], 1, [both]), 1, QUIET) == 1
    assert bench.finished("P", ONE, 0) is not None
    assert bench.finished("P", BROKEN, 0) is None
    assert "broken on purpose" in (bench.folder / "failures.log").read_text()


def test_an_outcome_of_other_settings_is_void(bench: Bench) -> None:
    bench.measure("P", ONE, 0)
    assert bench.finished("P", ONE, 0) is not None
    changed = Entrant(name="one", kind=Kind.OURS, measure=measure_one, settings={"width": 64})
    assert bench.finished("P", changed, 0) is None


def test_asking_for_what_was_not_measured_says_what_to_do(bench: Bench) -> None:
    with pytest.raises(RecStackError, match="P one with seed 0 was not measured yet; name it in `needs`"):
        bench.outcome("P", "one", 0)
