"""What users do: sessions of pages, what they click on each, and which request comes next. Knows no gRPC.

A session asks for a page of recommendations, reports what was shown and clicked, and asks for the next page. Each
moment of the schedule takes one step of one session, so that requests come at the rate that was set, while a user
always waits for an answer before going on.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from tests.load.population import Population

RECOMMEND, EVENTS, SIMILAR, EXPLAIN = "Recommend", "RecordEvents", "SimilarItems", "Explain"
MIX: Mapping[str, float] = {RECOMMEND: 50, EVENTS: 40, SIMILAR: 9, EXPLAIN: 1}
"""Default weights of the RPCs: most pages are reported, some are followed into an item's page, few are asked about."""
IMPRESSION, CLICK, WATCH, RATING = "IMPRESSION", "CLICK", "WATCH", "RATING"

WATCHES_PER_CLICK = 0.5
RATINGS_PER_WATCH = 0.3
REMEMBERED = 1000
"""Pages and items that wait for a next step; of more, the oldest are users who have left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficOptions:
    """Everything that decides the traffic. users: first and last known id. mix: weights by RPC.

    session_pages: Recommends per session on average, geometrically distributed. click_rate: of the item shown first;
    position_bias: eta of the examination model, in which the item at position p is looked at in proportion to p ** -eta
    (Joachims et al., Unbiased Learning-to-Rank with Biased Feedback, 2017).
    """

    users: tuple[int, int]
    zipf: float = 0.9
    unknown_share: float = 0.05
    mix: Mapping[str, float] = field(default_factory=lambda: dict(MIX))
    k: int = 20
    session_pages: float = 4.0
    click_rate: float = 0.3
    position_bias: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := set(self.mix) - set(MIX):
            raise ValueError(f"the mix names {sorted(unknown)}; expected some of {list(MIX)}")
        if any(weight < 0 for weight in self.mix.values()) or self.mix.get(RECOMMEND, 0) <= 0:
            raise ValueError(f"the mix is {dict(self.mix)}; weights are at least 0, and that of {RECOMMEND} is more")
        if not self.k >= 1:
            raise ValueError(f"k is {self.k}; expected at least 1")
        if self.session_pages < 1:
            raise ValueError(f"a session has {self.session_pages} pages; expected at least 1")
        if not 0 <= self.click_rate <= 1:
            raise ValueError(f"the click rate is {self.click_rate}; expected 0..1")


@dataclass(frozen=True, slots=True)
class Page:
    """What an answer showed. channel_masks, arm: what recommended the items, which their events echo."""

    item_ids: tuple[int, ...] = ()
    channel_masks: tuple[int, ...] = ()
    arm: str = ""


NOTHING = Page()


@dataclass(slots=True, eq=False)
class Session:
    """One visit. pages_left: Recommends after this one. used: items whose use the stack has acknowledged."""

    user_id: int
    pages_left: int
    shown: Page = NOTHING
    used: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a user did. rating: 1..5 for RATING, otherwise 0."""

    event_id: str
    type: str
    item_id: int
    channel_mask: int = 0
    rating: float = 0.0


@dataclass(frozen=True, slots=True)
class Recommend:
    """Ask for a page."""

    session: Session


@dataclass(frozen=True, slots=True)
class RecordEvents:
    """Report what became of a page."""

    session: Session
    events: tuple[Event, ...]
    arm: str = ""


@dataclass(frozen=True, slots=True)
class SimilarItems:
    """Open the page of an item that was shown to somebody."""

    item_id: int


@dataclass(frozen=True, slots=True)
class Explain:
    """Ask why items were shown."""

    user_id: int
    item_ids: tuple[int, ...]


Action = Recommend | RecordEvents | SimilarItems | Explain


class Traffic:
    """Decides the next request, and learns from each answer. One per worker; `name` keeps event ids apart.

    Users and event ids are the same for the same seed and name. Items are learned from answers alone. counts: what was
    noticed: "sessions", "clicks", and "seen again" for items that were shown after their use had been acknowledged.
    """

    def __init__(self, options: TrafficOptions, name: str) -> None:
        self._options = options
        self._name = f"{options.seed}-{name}"
        self._random = Random(self._name)
        first, last = options.users
        self._population = Population(first, last, options.zipf, options.unknown_share, options.seed)
        self._rpcs = list(options.mix)
        self._weights = list(options.mix.values())
        self._event_number = 0
        self._browsing: deque[Session] = deque(maxlen=REMEMBERED)
        self._looking: deque[Session] = deque(maxlen=REMEMBERED)
        self._items: deque[int] = deque(maxlen=REMEMBERED)
        self._explainable: deque[tuple[int, tuple[int, ...]]] = deque(maxlen=REMEMBERED)
        self.counts: Counter[str] = Counter()

    def next(self) -> Action:
        """The next request, an RPC drawn by its weight; a Recommend where nothing was shown yet that others need."""
        rpc = self._random.choices(self._rpcs, self._weights)[0]
        if rpc == EVENTS and self._looking:
            session = self._looking.pop()  # the page shown last: the others take their time, or have left
            return RecordEvents(session, self._events(session.shown), session.shown.arm)
        if rpc == SIMILAR and self._items:
            return SimilarItems(self._random.choice(self._items))
        if rpc == EXPLAIN and self._explainable:
            return Explain(*self._explainable.pop())
        return Recommend(self._browsing.popleft() if self._browsing else self._new_session())

    def shown(self, session: Session, page: Page, *, degraded: bool = False) -> None:
        """A page has come: the session looks at it. A degraded answer may show again what was used; it says so."""
        session.shown = page
        if not degraded:
            self.counts["seen again"] += len(session.used.intersection(page.item_ids))
        if page.item_ids:
            self._items.append(self._random.choice(page.item_ids))
            self._explainable.append((session.user_id, page.item_ids[:3]))
            self._looking.append(session)

    def acknowledged(self, action: RecordEvents) -> None:
        """Events were written: from now on the user must not be shown what was used, and may ask for the next page."""
        used = {event.item_id for event in action.events if event.type != IMPRESSION}
        action.session.used |= used
        self.counts["clicks"] += len(used)
        if action.session.pages_left:
            action.session.pages_left -= 1
            self._browsing.append(action.session)

    def _new_session(self) -> Session:
        self.counts["sessions"] += 1
        pages = 1
        while self._random.random() > 1 / self._options.session_pages:
            pages += 1
        return Session(self._population.draw(self._random), pages - 1)

    def _events(self, page: Page) -> tuple[Event, ...]:
        shown = list(zip(page.item_ids, page.channel_masks, strict=True))
        events = [self._event(IMPRESSION, *item) for item in shown]
        for position, item in enumerate(shown, start=1):
            if self._random.random() < self._options.click_rate * position**-self._options.position_bias:
                events.append(self._event(CLICK, *item))
                if self._random.random() < WATCHES_PER_CLICK:
                    events.append(self._event(WATCH, *item))
                    if self._random.random() < RATINGS_PER_WATCH:
                        events.append(self._event(RATING, *item, rating=float(self._random.randint(1, 5))))
        return tuple(events)

    def _event(self, kind: str, item_id: int, channel_mask: int, rating: float = 0.0) -> Event:
        self._event_number += 1
        return Event(f"{self._name}-{self._event_number}", kind, item_id, channel_mask, rating)
