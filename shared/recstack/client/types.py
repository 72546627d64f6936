"""Values that go into and come out of the client. All are frozen; times are epoch milliseconds or milliseconds."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class EventType(StrEnum):
    """What a user did. IMPRESSION moves counters only; the others enter the user's history."""

    IMPRESSION = "impression"
    CLICK = "click"
    WATCH = "watch"
    RATING = "rating"


class FeatureStatus(StrEnum):
    """How much a feature value can be trusted."""

    UNSPECIFIED = "unspecified"
    PRESENT = "present"
    MISSING = "missing"
    STALE = "stale"


class ScoreKind(StrEnum):
    """What scores are: the ranker's probability 0..1 of a like, the rating 1..5 that it expects, or neither of them,
    which is the recall order's score when ranking was degraded."""

    UNSPECIFIED = "unspecified"
    LIKE_PROBABILITY = "like_probability"
    RATING = "rating"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Restrictions of a request; the default keeps every item that the user has not seen.

    Genres are names, for example "Comedy": an item needs one of `include_genres` and none of `exclude_genres`.
    Years are inclusive; None means no bound.
    """

    exclude_item_ids: tuple[int, ...] = ()
    include_genres: tuple[str, ...] = ()
    exclude_genres: tuple[str, ...] = ()
    min_year: int | None = None
    max_year: int | None = None
    allow_seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that a user did. The id is made here, so that sending the same Event again changes nothing.

    rating: 1..5, for RATING events only. timestamp_ms: None means the time of receipt. channels, arm: what recommended
    the item, for click rates; `Recommendation.event` and `RecommendationList.impressions` fill them in.
    """

    item_id: int
    type: EventType
    rating: float | None = None
    timestamp_ms: int | None = None
    channels: tuple[str, ...] = ()
    arm: str = ""
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Wall time of one stage ("sources") or component ("sources/recall") of a request."""

    stage: str
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommended item. score: see the list's `score_kind`.

    year is None when unknown; title is empty when display features were unavailable. channels: where it was
    recalled from, for example ("two_tower", "popular"). arm: see the list's.
    """

    item_id: int
    title: str
    year: int | None
    genres: tuple[str, ...]
    score: float
    channels: tuple[str, ...]
    arm: str = ""

    def event(self, event_type: EventType, *, rating: float | None = None, timestamp_ms: int | None = None) -> Event:
        """What the user did with this item, to be recorded: it says what had recommended it."""
        return Event(
            item_id=self.item_id,
            type=event_type,
            rating=rating,
            timestamp_ms=timestamp_ms,
            channels=self.channels,
            arm=self.arm,
        )


@dataclass(frozen=True, slots=True)
class RecommendationList:
    """Recommendations, best first, and how they came about. Iterates over the items.

    cold_start: the user had neither profile nor history. degraded: what was answered in a lesser way, empty when
    all is well. candidates: distinct items recalled. bundle_versions: by service. score_kind: what the scores are.
    arm: what made the answer: a side of an experiment, a bundle's version, or "recall".
    """

    items: tuple[Recommendation, ...]
    request_id: str
    cold_start: bool
    degraded: tuple[str, ...]
    timings: tuple[StageTiming, ...]
    candidates: int
    bundle_versions: dict[str, str]
    profile_status: FeatureStatus
    score_kind: ScoreKind
    arm: str = ""

    def impressions(self) -> tuple[Event, ...]:
        """That these items were shown, to be recorded. Each call makes new events: to try again, send the same ones."""
        return tuple(item.event(EventType.IMPRESSION) for item in self.items)

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class SimilarItem:
    """A neighbour of an item. similarity: cosine, -1..1."""

    item_id: int
    title: str
    year: int | None
    genres: tuple[str, ...]
    similarity: float


@dataclass(frozen=True, slots=True)
class SimilarItems:
    """Neighbours, nearest first. Iterates over the items."""

    items: tuple[SimilarItem, ...]
    degraded: tuple[str, ...]

    def __iter__(self) -> Iterator[SimilarItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class ChannelEvidence:
    """How one channel saw an item: its rank there from 1, the channel's own score, and the history item it is a
    neighbour of (None unless the channel is "item_to_item")."""

    channel: str
    rank: int
    score: float
    seed_item_id: int | None


@dataclass(frozen=True, slots=True)
class HistoryInfluence:
    """What one history item did to a score. rating: None when none was given.

    influence: the score with this event minus the score without it; positive where it raised the score.
    """

    item_id: int
    title: str
    influence: float
    rating: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one item was, or was not, recommended.

    position: place in the answer from 1, None when it was not selected. score_rank: rank among all scored
    candidates from 1, None when it was not recalled. drop_reason: for example "already_watched", or None.
    """

    item_id: int
    title: str
    position: int | None
    score_rank: int | None
    score: float
    channels: tuple[ChannelEvidence, ...]
    drop_reason: str | None
    influences: tuple[HistoryInfluence, ...]


@dataclass(frozen=True, slots=True)
class Explanations:
    """One explanation per requested item, in request order. Iterates over the items. score_kind: what scores are."""

    items: tuple[Explanation, ...]
    degraded: tuple[str, ...]
    bundle_versions: dict[str, str]
    score_kind: ScoreKind

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Identity of one server. bundle_version: empty when it holds none; last_refusal: why a bundle was refused.

    score_kind: what the server's ranker returns; unspecified for servers that do not rank.
    """

    service: str
    version: str
    schema_hash: str
    bundle_version: str
    last_refusal: str
    limits: dict[str, int]
    score_kind: ScoreKind


@dataclass(frozen=True, slots=True)
class StackInfo:
    """The gateway and the services behind it that answered."""

    gateway: ServerInfo
    backends: tuple[ServerInfo, ...]
