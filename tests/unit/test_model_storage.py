"""Models on disk: what is saved is what is loaded, and what does not fit is one clear error."""

import json
from pathlib import Path

import pytest
import torch

from recstack.errors import BundleError, InvalidRequestError
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.rankers import RANKERS, load_item_vectors, load_ranker, save_ranker

VECTORS = torch.arange(12.0).reshape(6, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_ranker(DIEN(DIENConfig(num_items=5, mlp=(8, 4))), tmp_path, VECTORS)
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_and_config_come_back(folder: Path) -> None:
    torch.manual_seed(3)
    model = DIEN(DIENConfig(num_items=5, mlp=(8, 4)))
    save_ranker(model, folder, VECTORS)
    loaded = load_ranker(folder)
    assert loaded.config == model.config
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert torch.equal(load_item_vectors(folder), VECTORS)


def test_a_model_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="Stranger has no name here; known are dcn, dien"):
        RANKERS.name_of(Stranger(DIENConfig(num_items=5)))


class Stranger(DIEN):
    """Not registered, although its parent is."""


def test_an_unknown_model_names_the_known_ones(folder: Path) -> None:
    edit(folder, model="transformer")
    with pytest.raises(BundleError, match=r"'transformer'; this program knows dcn, dien"):
        load_ranker(folder)


@pytest.mark.parametrize("change", [{"num_items": 6}, {"no_such_size": 1}, {"hidden": 0}])
def test_a_config_that_does_not_fit_is_refused(folder: Path, change: dict[str, int]) -> None:
    edit(folder, **change)
    with pytest.raises(BundleError, match="does not fit this program's 'dien'"):
        load_ranker(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", [b"", None])
def test_a_missing_or_empty_file_is_a_bundle_error(folder: Path, name: str, damage: bytes | None) -> None:
    if damage is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damage)
    with pytest.raises(BundleError, match="publish"):
        load_ranker(folder)
