"""What a request asks, and what is known of the user who asks. Immutable; hydrators return a richer copy."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1.common_pb2 import (
    FEATURE_STATUS_MISSING,
    FEATURE_STATUS_UNSPECIFIED,
    History,
    UserProfile,
)
from services.gateway.pipeline.deadline import Deadline

NO_IDS: NDArray[np.int64] = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constraints:
    """Restrictions set by the caller. Genres are ids 1..18; years are inclusive, 0 means no bound."""

    exclude_item_ids: NDArray[np.int64] = field(default_factory=lambda: NO_IDS)
    include_genres: tuple[int, ...] = ()
    exclude_genres: tuple[int, ...] = ()
    min_year: int = 0
    max_year: int = 0
    allow_seen: bool = False

    @property
    def need_features(self) -> bool:
        """True when an item's genres or year must be known to tell whether it qualifies."""
        return bool(self.include_genres or self.exclude_genres or self.min_year or self.max_year)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class User:
    """One user as the feature store knows them; the default is a user of whom nothing is known.

    profile, history: what models are given. They stay the messages that they came in: the gateway passes them on and
    looks at none of their values. seen_item_ids: int64, distinct, ascending.
    """

    profile: UserProfile = field(default_factory=UserProfile)
    profile_status: int = FEATURE_STATUS_UNSPECIFIED
    history: History = field(default_factory=History)
    seen_item_ids: NDArray[np.int64] = field(default_factory=lambda: NO_IDS)

    @property
    def cold(self) -> bool:
        """True when there is neither a profile nor a history to go by."""
        no_profile = self.profile_status in (FEATURE_STATUS_UNSPECIFIED, FEATURE_STATUS_MISSING)
        return no_profile and not self.history.item_ids


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """One validated request. `explained_item_ids` are followed through the pipeline even when nobody recalls them."""

    user_id: int
    k: int
    request_id: str
    deadline: Deadline
    constraints: Constraints = field(default_factory=Constraints)
    user: User = field(default_factory=User)
    explained_item_ids: NDArray[np.int64] = field(default_factory=lambda: NO_IDS)

    def due(self, deadline: Deadline) -> "Query":
        """The same query with another deadline."""
        return replace(self, deadline=deadline)
