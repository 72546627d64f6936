"""Models on disk: `config.json` (the config dataclass, plus the model's name) and `model.safetensors`. No pickle."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from recstack.errors import BundleError, InvalidRequestError

ModelT = TypeVar("ModelT", bound=nn.Module)


class ModelRegistry(Mapping[str, tuple[type[ModelT], type[Any]]]):
    """Model and config classes by name, imported when one is asked for.

    places: name -> "module:Model:Config", for example "recstack.models.dien:DIEN:DIENConfig".
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> tuple[type[ModelT], type[Any]]:
        module, model, config = self._places[name].split(":")
        found = import_module(module)
        return getattr(found, model), getattr(found, config)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def name_of(self, model: ModelT) -> str:
        """The name of a model's class; InvalidRequestError when the registry has none."""
        place = f"{type(model).__module__}:{type(model).__name__}:"
        for name, known in self._places.items():
            if known.startswith(place):
                return name
        raise InvalidRequestError(f"{type(model).__name__} has no name here; known are {', '.join(sorted(self))}")


def save_model(folder: Path, name: str, model: nn.Module) -> None:
    """Write a model whose `config` is a dataclass into `folder` under `name`, for example "dien"."""
    folder.mkdir(parents=True, exist_ok=True)
    config: Any = model.config
    (folder / "config.json").write_text(json.dumps({"model": name, **asdict(config)}, indent=2) + "\n")
    weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")


def load_model(folder: Path, known: Mapping[str, tuple[type[ModelT], type[Any]]]) -> ModelT:
    """Read what `save_model` wrote: the model in eval mode, on the CPU.

    known: name -> (model class, config class). BundleError when the name is unknown or the weights do not fit.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder} holds no readable model: {error}; publish the bundle again") from error
    name = config.pop("model", None)
    if name not in known:
        raise BundleError(f"{folder} holds a model named {name!r}; this program knows {', '.join(sorted(known))}")
    model_class, config_class = known[name]
    try:
        model = model_class(config_class(**{key: _tuple(value) for key, value in config.items()}))
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError, InvalidRequestError) as error:
        raise BundleError(f"{folder} does not fit this program's {name!r}: {error}; train and publish again") from error
    return model.eval()


def _tuple(value: Any) -> Any:
    """JSON has lists only; configs hold tuples."""
    return tuple(value) if isinstance(value, list) else value
