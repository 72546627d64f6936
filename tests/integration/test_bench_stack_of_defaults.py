"""The benchmark against the stack of defaults runs, both stacks answer alike, and a difference would stop it."""

import pytest
from rich.console import Console

pytest.importorskip("feast", reason="needs the peers: make peers")

from tests.bench import stack_of_defaults
from tests.bench.peers.answers import Answer, check_same
from tests.bench.peers.loaded_side import Turn
from tests.load.knee import Knee, Step


def test_a_short_run_compares_stacks_that_answer_alike():
    report = stack_of_defaults.run(Console(quiet=True), short=True)

    assert [line.goal for line in report.comparisons] == [stack_of_defaults.GOAL, None, None]
    assert all(line.ours > 0 and line.other > 0 for line in report.comparisons)
    turns = report.details["turns"]
    assert set(turns["RecStack"][0]["cpu_ms"]) == {"redis", "feature-store", "retrieval", "ranking", "gateway"}
    assert set(turns["defaults, 2 processes"][0]["cpu_ms"]) == {"uvicorn", "redis"}


def test_the_layout_that_sustains_more_is_compared_and_callers_decide_between_equals():
    def turn(rate: float, closed: float) -> Turn:
        return Turn(Knee(rate, (Step(8.0, 90.0), Step(16.0, 300.0)), "", by_generator=False), closed, 8.0, {})

    name = "defaults, {}".format
    turns = {"RecStack": [turn(99, 99)], name("1 process"): [turn(12, 1)], name("2 processes"): [turn(6, 9)]}
    assert stack_of_defaults.best_layout(turns) == name("1 process")
    turns = {"RecStack": [turn(99, 99)], name("1 process"): [turn(0, 1)], name("2 processes"): [turn(0, 9)]}
    assert stack_of_defaults.best_layout(turns) == name("2 processes")


def test_answers_may_differ_in_rounding_and_in_nothing_else():
    mine = Answer({1: "Up", 2: "Heat", 3: "Big"}, {1: 0.9, 2: 0.7, 3: 0.5})

    check_same(mine, Answer(mine.titles, {1: 0.90001, 2: 0.7, 3: 0.49999}))
    check_same(mine, Answer({1: "Up", 2: "Heat", 4: "Tar"}, {1: 0.9, 2: 0.7, 4: 0.50001}))  # 3 and 4 are as good
    for other in (
        Answer(mine.titles, {1: 0.9, 2: 0.7, 3: 0.5005}),
        Answer({**mine.titles, 2: "Heist"}, mine.scores),
        Answer({1: "Up", 3: "Big", 4: "Tar"}, {1: 0.9, 3: 0.5, 4: 0.5}),
        Answer({1: "Up"}, {1: 0.9}),
    ):
        with pytest.raises(AssertionError):
            check_same(mine, other)
