"""The knee search against a simulated server."""

import pytest

from tests.load.knee import Step, Target, find_knee


def server(capacity: float, *, base_ms: float = 10.0, lag_ms: float = 0.0):
    """A single queue: latency grows as 1 / (1 - load), and above its capacity without bound."""

    def run_at(rate: float) -> Step:
        load = rate / capacity
        p99_ms = base_ms / (1 - load) if load < 1 else 5000.0
        return Step(rate, p99_ms + 2 * lag_ms, lag_p99_ms=lag_ms)

    return run_at


@pytest.mark.parametrize("capacity", [37.0, 110.0, 1_000.0, 23_456.0])
@pytest.mark.parametrize("start", [1.0, 50.0, 400.0])
def test_the_knee_of_a_queue_is_found_from_above_and_from_below(capacity: float, start: float) -> None:
    knee = find_knee(server(capacity), Target(p99_ms=100), start=start, tolerance=0.02)
    true_knee = 0.9 * capacity  # where 10 / (1 - load) is 100
    assert 0.97 * true_knee <= knee.rate <= true_knee
    assert knee.step is not None
    assert knee.step.rate == knee.rate
    assert "p99" in knee.limit
    assert not knee.by_generator
    assert len(knee.steps) < 25


def test_no_step_is_taken_twice_and_bisection_narrows() -> None:
    knee = find_knee(server(777.0), start=50, tolerance=0.05)
    rates = [step.rate for step in knee.steps]
    assert len(set(rates)) == len(rates)
    assert rates[:5] == [50, 100, 200, 400, 800]
    assert all(400 < rate < 800 for rate in rates[5:])


def test_a_server_that_never_breaks_stops_at_the_ceiling() -> None:
    knee = find_knee(lambda rate: Step(rate, 1.0), start=100, ceiling=1000)
    assert knee.rate == 1000
    assert "not searched above 1000" in knee.limit


def test_a_server_that_never_holds_has_no_knee() -> None:
    knee = find_knee(lambda rate: Step(rate, 1.0, error_share=1.0), start=64)
    assert knee.rate == 0
    assert knee.step is None
    assert "errors 100.00%" in knee.limit


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step(10, 100.0, error_share=0.001, degraded_share=0.01), ()),
        (Step(10, 100.1), ("p99",)),
        (Step(10, 1.0, error_share=0.0011), ("errors",)),
        (Step(10, 1.0, degraded_share=0.011), ("degraded",)),
        (Step(10, 200.0, error_share=0.5, degraded_share=0.5), ("p99", "errors", "degraded")),
    ],
)
def test_each_part_of_the_target_breaks_a_step(step: Step, words: tuple[str, ...]) -> None:
    broken = Target().broken_by(step)
    assert len(broken) == len(words)
    assert all(part.startswith(word) for part, word in zip(broken, words, strict=True))


def test_the_generator_is_blamed_when_its_own_lateness_breaks_the_target() -> None:
    knee = find_knee(server(1000.0, lag_ms=48), Target(p99_ms=100), start=50)
    assert knee.by_generator


def test_the_generator_is_not_blamed_for_a_slow_server_nor_while_the_target_holds() -> None:
    target = Target(p99_ms=100)
    assert not target.generator_to_blame(Step(10, p99_ms=900, lag_p99_ms=15))
    assert not target.generator_to_blame(Step(10, p99_ms=104, lag_p99_ms=3))
    assert not target.generator_to_blame(Step(10, p99_ms=90, lag_p99_ms=40))
    assert target.generator_to_blame(Step(10, p99_ms=150, lag_p99_ms=40))


def test_a_hiccup_is_forgiven_where_a_rate_gets_two_attempts() -> None:
    def with_hiccup_at(number: int):
        run_at, runs = server(1000.0), []

        def run(rate: float) -> Step:
            runs.append(rate)
            return Step(rate, 5000.0) if len(runs) == number else run_at(rate)

        return run

    assert find_knee(with_hiccup_at(2), start=50).rate < 100
    forgiven = find_knee(with_hiccup_at(2), start=50, attempts=2)
    assert forgiven.rate == pytest.approx(900, rel=0.1)
    rates = [step.rate for step in forgiven.steps]
    assert rates[:4] == [50, 100, 100, 200], "what broke is tried again"
    assert rates.count(50) == 1, "what holds is not"
