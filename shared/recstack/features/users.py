"""The users of a bundle by id, for models that know users by id."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recstack.errors import BundleError


@dataclass(frozen=True, slots=True)
class UserIndex:
    """Users in ascending id order, [U] int64. User index = row + 1; index 0 is the unknown user."""

    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def index_of(self, user_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """User index of each id; 0 for ids that the bundle does not know, and for id 0, which says "unknown"."""
        if not len(self.ids):
            return np.zeros(len(user_ids), np.int64)
        rows = np.minimum(np.searchsorted(self.ids, user_ids), len(self.ids) - 1)
        known = (self.ids[rows] == user_ids) & (user_ids != 0)
        return np.where(known, rows + 1, 0).astype(np.int64)

    @classmethod
    def load(cls, bundle_folder: Path) -> "UserIndex":
        """The users of the bundle in `bundle_folder`; BundleError when its features cannot be read."""
        path = bundle_folder / "features/users.npz"
        try:
            with np.load(path, allow_pickle=False) as columns:
                return cls(columns["ids"])
        except (OSError, KeyError, ValueError) as error:
            raise BundleError(f"{path} does not list the users: {error}; publish the bundle again") from error
