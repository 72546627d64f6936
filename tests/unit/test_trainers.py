"""Which models can be trained, by which names, and what is said about a name that does not exist."""

import inspect

import pytest

from recstack.errors import InvalidRequestError
from services.trainer.trainers import TRAINERS, Role, find_trainer


@pytest.mark.parametrize("name", TRAINERS)
def test_every_model_has_the_presets_and_the_function_that_the_command_calls(name: str) -> None:
    trainer = TRAINERS[name]
    assert {"quick", "full", "notebook"} <= set(trainer.presets)
    parameters = inspect.signature(trainer.train).parameters
    assert list(parameters)[:4] == ["dataset", "split", "preset", "run_dir"]
    assert {"device", "seed", "console", "workers"} <= set(parameters)


def test_dashes_and_underscores_are_the_same() -> None:
    assert find_trainer("two-tower") is find_trainer("two_tower")
    assert find_trainer("simple-cf").role is Role.RANKER


def test_an_unknown_model_or_preset_lists_those_that_exist() -> None:
    with pytest.raises(InvalidRequestError, match=r"no model 'dine'; the models are two_tower, .*dien, dcn"):
        find_trainer("dine")
    with pytest.raises(InvalidRequestError, match=r"dien has no preset 'best'; its presets are .*quick.*full"):
        find_trainer("dien").preset("best")
