"""Form and sizes of the multimodal rating predictor."""

from dataclasses import dataclass
from typing import Literal

from recstack.errors import InvalidRequestError
from recstack.features.schema import PROFILE_SIZES

MODALITIES = ("genres", "year", "title", "poster")
"""What may be known of an item."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MultimodalConfig:
    """Form and sizes of a multimodal model.

    modalities: what is read of an item, from MODALITIES. vocabulary: the words of titles, in the order of their ids.
    word_dim, widths, filters, genre_dim, year_dim and channels are the encoders' sizes.

    Only the full form has the others; the notebook's sizes and profile are fixed. profile: what is read of a user.
    leniency_prior: see `Multimodal.encode_users`; the history is read where max_history is above 0.
    """

    num_items: int
    vocabulary: tuple[str, ...]
    form: Literal["notebook", "full"] = "full"
    modalities: tuple[str, ...] = MODALITIES
    word_dim: int = 16
    widths: tuple[int, ...] = (1, 2, 3)
    filters: int = 16
    genre_dim: int = 32
    year_dim: int = 16
    channels: tuple[int, ...] = (8, 16, 32)
    profile: tuple[str, ...] = tuple(PROFILE_SIZES)
    profile_dim: int = 16
    vector_dim: int = 32
    hidden: int = 128
    dropout: float = 0.2
    leniency_prior: float = 8.0
    max_history: int = 0

    def __post_init__(self) -> None:
        if self.form not in ("notebook", "full"):
            raise InvalidRequestError(f"form is {self.form!r}; choose notebook or full")
        for name, known in (("modalities", MODALITIES), ("profile", tuple(PROFILE_SIZES))):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given) or not set(given) <= set(known):
                raise InvalidRequestError(f"{name} is {given}; name one or more of {known}, each once")
        for name in (
            "num_items", "word_dim", "filters", "genre_dim", "year_dim", "profile_dim", "vector_dim", "hidden",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InvalidRequestError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("widths", "channels"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise InvalidRequestError(f"{name} is {getattr(self, name)}; give one or more sizes of 1 or more")
        if not 0 <= self.dropout < 1:
            raise InvalidRequestError(f"dropout is {self.dropout}; it must be at least 0 and below 1")
        if self.leniency_prior <= 0:
            raise InvalidRequestError(f"leniency_prior is {self.leniency_prior}; it must be above 0")
        if self.max_history < 0 or (self.max_history > 0 and self.form == "notebook"):
            raise InvalidRequestError(
                f"max_history is {self.max_history}; it must be 0 or more, and 0 in the notebook's form"
            )
