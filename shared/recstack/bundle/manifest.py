"""The manifest: everything that identifies a bundle, and the checksum of each of its files."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from recstack.errors import BundleError

MANIFEST_NAME = "manifest.json"
FORMAT = 1

REQUIRED_FILES = (
    "catalogue.npz",
    "features/histories.npz",
    "features/items.npz",
    "features/users.npz",
    "golden.npz",
    "ranking/config.json",
    "ranking/model.safetensors",
    "retrieval/config.json",
    "retrieval/index.faiss",
    "retrieval/item_vectors.npy",
    "retrieval/model.safetensors",
)
"""A bundle without one of these is incomplete."""


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


class Manifest(_Frozen):
    """What a bundle is. `metrics` are flat, for example {"ranking/auc": 0.79}; times are epoch milliseconds."""

    format: int = FORMAT
    version: str
    schema_hash: str
    created_at_ms: int
    dataset: str
    git_revision: str
    models: dict[str, str]
    metrics: dict[str, float]
    files: dict[str, FileEntry]

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> "Manifest":
        """Read a manifest; BundleError says what is wrong with it."""
        try:
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise BundleError(
                f"{where} is not a bundle manifest: {place}: {first['msg']}; publish the bundle again"
            ) from error
        if manifest.format != FORMAT:
            raise BundleError(f"{where} has format {manifest.format}; this version of RecStack reads format {FORMAT}")
        return manifest
