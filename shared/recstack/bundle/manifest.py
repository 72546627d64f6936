"""The manifest: everything that identifies a bundle, and the checksum of each of its files."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from recstack.errors import BundleError

MANIFEST_NAME = "manifest.json"
FORMAT = 2

RETRIEVAL, CONTENT = "retrieval", "content"
"""Roles in `Manifest.models`. Each is also the folder of its model; content, for items without interactions, is
optional."""

_SHARED_FILES = (
    "catalogue.npz",
    "features/histories.npz",
    "features/items.npz",
    "features/users.npz",
    "golden.npz",
)
_MODEL_FILES = ("config.json", "model.safetensors", "item_vectors.npy")


def ranker_folder(name: str) -> str:
    """Where a bundle keeps the ranker called `name`."""
    return f"rankers/{name}"


def required_files(rankers: Iterable[str], *, content: bool = False) -> tuple[str, ...]:
    """Files without which a bundle with these rankers, and with a content model or without, is incomplete."""
    folders = [RETRIEVAL, *([CONTENT] if content else []), *map(ranker_folder, rankers)]
    of_models = [f"{folder}/{name}" for folder in folders for name in _MODEL_FILES]
    of_roles = [
        f"{RETRIEVAL}/index.faiss",
        f"{RETRIEVAL}/similar.faiss",
        *([f"{CONTENT}/interactions.npy"] if content else []),
    ]
    return tuple(sorted([*_SHARED_FILES, *of_roles, *of_models]))


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """Checksum and size of one file."""

    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> "FileEntry":
        """Read a file and describe it."""
        with path.open("rb") as file:
            return cls(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


class _Format(BaseModel):
    """What is read first, whatever else a manifest of another format holds."""

    format: int


class Manifest(_Frozen):
    """What a bundle is. Times are epoch milliseconds.

    models: name of the model in each role, for example {"retrieval": "two_tower", "content": "multimodal"}.
    rankers: the rankers that score and the weight of each in the sum of their raw scores, for example
    {"dien": 0.7, "dcn": 0.3}; the folder may hold more of them. metrics are flat, for example {"dien/auc": 0.79}.
    """

    format: int = FORMAT
    version: str
    schema_hash: str
    created_at_ms: int
    dataset: str
    git_revision: str
    models: dict[str, str]
    rankers: dict[str, float]
    metrics: dict[str, float]
    files: dict[str, FileEntry]

    @field_validator("rankers")
    @classmethod
    def _weights(cls, rankers: dict[str, float]) -> dict[str, float]:
        if not rankers or not all(math.isfinite(weight) and weight > 0 for weight in rankers.values()):
            raise ValueError(f"weights are {rankers}; there must be one or more, each above 0")
        return rankers

    @property
    def required_files(self) -> tuple[str, ...]:
        """Files without which the bundle is incomplete."""
        return required_files(self.rankers, content=CONTENT in self.models)

    @property
    def held_rankers(self) -> tuple[str, ...]:
        """All rankers that the bundle holds, those that do not serve included."""
        folder = ranker_folder("")
        return tuple(sorted({name.split("/")[1] for name in self.files if name.startswith(folder)}))

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> "Manifest":
        """Read a manifest; BundleError says what is wrong with it."""
        try:
            found = _Format.model_validate_json(text).format
            if found != FORMAT:
                raise BundleError(
                    f"{where} has format {found}; this version of RecStack reads format {FORMAT}: train again, or use "
                    "the version that published it"
                )
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise BundleError(
                f"{where} is not a bundle manifest: {place}: {first['msg']}; publish the bundle again"
            ) from error
