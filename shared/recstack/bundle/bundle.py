"""An opened bundle: a local folder that a manifest describes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recstack.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest
from recstack.errors import BundleError
from recstack.features.schema import SCHEMA

if TYPE_CHECKING:
    from recstack.features.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's local folder and its manifest."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Read the manifest of `folder`; BundleError when there is none or it cannot be read."""
        path = folder / MANIFEST_NAME
        if not path.is_file():
            raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST_NAME}; publish one with `recstack train`")
        return cls(folder, Manifest.parse(path.read_bytes(), str(path)))

    def catalogue(self) -> Catalogue:
        """The bundle's items."""
        from recstack.features.catalogue import Catalogue  # it loads torch, which the CLI does without

        return Catalogue.load(self.folder / "catalogue.npz")

    def verify(self, schema_hash: str = SCHEMA.hash) -> None:
        """Check completeness, checksums and schema hash; BundleError names the first file that is wrong."""
        version = self.manifest.version
        if self.manifest.schema_hash != schema_hash:
            raise BundleError(
                f"bundle {version} was made for feature schema {self.manifest.schema_hash}, this program has "
                f"{schema_hash}; train and publish again with this version of RecStack"
            )
        missing = [name for name in self.manifest.required_files if name not in self.manifest.files]
        if missing:
            raise BundleError(f"bundle {version} is incomplete: its manifest lacks {', '.join(missing)}")
        for name, expected in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file():
                raise BundleError(f"bundle {version} is corrupt: {name} is missing; publish it again or roll back")
            actual = FileEntry.of(path)
            if actual != expected:
                raise BundleError(
                    f"bundle {version} is corrupt: {name} has {actual.size} bytes and sha256 {actual.sha256[:12]}…, "
                    f"the manifest says {expected.size} and {expected.sha256[:12]}…; publish it again or roll back"
                )
