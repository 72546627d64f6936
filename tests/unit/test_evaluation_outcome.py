"""Outcomes on disk: whole or absent, and void when settings or data change."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement, Outcome

OUTCOME = Outcome(
    protocol="C1",
    entrant="dien:full",
    seed=1,
    key="abc",
    settings={"width": 3},
    measured=Measurement(
        metrics={"auc": 0.75},
        arrays={"test": np.arange(4, dtype=np.float32)},
        seconds=12.5,
        history=({"epoch": 1.0, "auc": 0.7},),
        note="chosen on validation",
    ),
    machine="a machine",
    threads=1,
    git_revision="abcdef",
)


def test_an_outcome_comes_back_as_it_was(tmp_path: Path) -> None:
    OUTCOME.save(tmp_path / "folder" / "result")
    loaded = Outcome.load(tmp_path / "folder" / "result")
    assert loaded is not None
    np.testing.assert_array_equal(loaded.measured.arrays["test"], OUTCOME.measured.arrays["test"])
    without = [replace(each, measured=replace(each.measured, arrays={})) for each in (loaded, OUTCOME)]
    assert without[0] == without[1]


def test_an_outcome_that_was_not_finished_is_absent(tmp_path: Path) -> None:
    OUTCOME.save(tmp_path / "result")
    (tmp_path / "result.json").unlink()
    assert Outcome.load(tmp_path / "result") is None


def test_a_key_depends_on_settings_split_data_and_the_sizes_of_the_parts() -> None:
    entrant = Entrant(name="a", kind=Kind.OURS, measure=lambda bench, seed: Measurement(metrics={}), settings={"x": 1})
    keys = {
        entrant.key("ml-1m", (8, 1, 1)),
        entrant.key("ml-1m", (7, 2, 1)),
        entrant.key("synthetic", (8, 1, 1)),
        replace(entrant, settings={"x": 2}).key("ml-1m", (8, 1, 1)),
        replace(entrant, split="random-90-10").key("ml-1m", (8, 1, 1)),
    }
    assert len(keys) == 5
    assert replace(entrant, settings={"x": 1}).key("ml-1m", (8, 1, 1)) == entrant.key("ml-1m", (8, 1, 1))
