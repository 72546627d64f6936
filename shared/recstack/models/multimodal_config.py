"""Form and sizes of the multimodal rating predictor."""

from dataclasses import dataclass
from typing import Literal

from recstack.errors import InvalidRequestError
from recstack.features.schema import PROFILE_SIZES
from recstack.models.config_checks import check_names, check_positive, check_shares, check_sizes

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
        check_names(self, "modalities", MODALITIES)
        check_names(self, "profile", tuple(PROFILE_SIZES))
        check_positive(
            self, "num_items", "word_dim", "filters", "genre_dim", "year_dim", "profile_dim", "vector_dim", "hidden"
        )
        check_sizes(self, "widths", "channels")
        check_shares(self, "dropout")
        if self.leniency_prior <= 0:
            raise InvalidRequestError(f"leniency_prior is {self.leniency_prior}; it must be above 0")
        if self.max_history < 0 or (self.max_history > 0 and self.form == "notebook"):
            raise InvalidRequestError(
                f"max_history is {self.max_history}; it must be 0 or more, and 0 in the notebook's form"
            )
