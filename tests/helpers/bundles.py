"""Bundle folders that are complete but hollow, for tests that read none of their models, or fill in their own."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from recstack.bundle import required_files


def write_hollow_bundle(
    folder: Path, mark: str = "hollow", rankers: Iterable[str] = ("dien",), *, content: bool = False
) -> tuple[str, ...]:
    """Write `mark` into each file that a bundle with these parts must have; returns their names."""
    names = required_files(rankers, content=content)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(mark)
    return names


def write_users(folder: Path, user_ids: Iterable[int]) -> None:
    """The part of a bundle's user features that models read: the ids, ascending."""
    (folder / "features").mkdir(parents=True, exist_ok=True)
    np.savez(folder / "features/users.npz", ids=np.array(list(user_ids), np.int64))
