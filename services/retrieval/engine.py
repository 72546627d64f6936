"""Recall over one bundle. Immutable, and knows nothing of gRPC servers, so a swap is the swap of one reference."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.api.common.v1.common_pb2 import Channel
from recstack.bundle import RETRIEVAL, Bundle
from recstack.errors import BundleError, NotFoundError, RecStackError
from recstack.features.batch import History
from recstack.features.catalogue import Catalogue
from recstack.features.users import UserIndex
from recstack.models.retrieval_index import load_index
from recstack.models.retrievers import load_retriever
from services.retrieval.channels.base import RecallChannel, RecallQuery
from services.retrieval.channels.cold_start import cold_start_channel
from services.retrieval.channels.fresh import FreshChannel
from services.retrieval.channels.item_to_item import ItemToItemChannel
from services.retrieval.channels.popular import PopularChannel
from services.retrieval.channels.two_tower import TwoTowerChannel
from services.retrieval.item_filter import KEEP_ALL, ItemFilter, ItemMasks
from services.retrieval.item_index import ItemIndex, item_index
from services.retrieval.lists_index import ListsIndex

log = logging.getLogger("recstack.retrieval")

REPLY_RESERVE_S = 0.002
"""Time that encoding and sending the answer takes; a channel that would start later than this before the deadline
only makes the whole answer late."""

NO_PROFILE = np.zeros(4, np.int64)


def no_deadline() -> float | None:
    """A `time_remaining` for callers that set no deadline."""
    return None


@dataclass(frozen=True, slots=True)
class ChannelCandidates:
    """What one channel brought: catalogue ids, best first. `error` says why it brought nothing."""

    channel: Channel.ValueType
    item_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    seed_item_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    error: str = ""
    compute_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidates:
    """The answer to one retrieval: one result per asked channel, in the order asked."""

    results: tuple[ChannelCandidates, ...]
    unknown_history_items: int


class RetrievalEngine:
    """Channels, filters and item index of one bundle."""

    def __init__(
        self,
        catalogue: Catalogue,
        users: UserIndex,
        similar: ItemIndex,
        channels: Mapping[Channel.ValueType, RecallChannel],
        version: str,
    ) -> None:
        self._catalogue = catalogue
        self._users = users
        self._similar = similar
        self._channels = channels
        self._masks = ItemMasks(catalogue)
        self.version = version

    @classmethod
    def load(
        cls, bundle: Bundle, device: torch.device | str = "cpu", cold_start_interactions: int = 0
    ) -> "RetrievalEngine":
        """Build from an opened bundle; BundleError when its parts do not fit each other.

        cold_start_interactions: items with at most so many interactions are those of the cold-start channel.
        """
        catalogue = bundle.catalogue()
        users = UserIndex.load(bundle.folder)
        index = item_index(load_index(bundle.folder / RETRIEVAL / "index.faiss"))
        similar = item_index(load_index(bundle.folder / RETRIEVAL / "similar.faiss"))
        model = load_retriever(bundle.folder / RETRIEVAL)
        version = bundle.manifest.version
        known_users = getattr(model.config, "num_users", 0) or len(users)  # 0: it knows no user by id
        if known_users != len(users):
            raise BundleError(
                f"bundle {version} does not fit together: its retrieval model knows {known_users} users, its features "
                f"{len(users)}; publish it again"
            )
        items = {
            "catalogue": len(catalogue),
            "index": len(index),
            "similar": len(similar),
            "model": model.config.num_items,
        }
        sizes = {"index": index.dimensions, "model": model.config.vector_dim}
        # The index has a dimension more where item vectors differ in length, see `unit_vectors`.
        if len(set(items.values())) > 1 or not 0 <= sizes["index"] - sizes["model"] <= 1:
            raise BundleError(
                f"bundle {version} does not fit together: items are {items}, dimensions {sizes}; publish it again"
            )
        channels: dict[Channel.ValueType, RecallChannel] = {
            Channel.CHANNEL_TWO_TOWER: TwoTowerChannel(model, catalogue, index, torch.device(device)),
            Channel.CHANNEL_ITEM_TO_ITEM: ItemToItemChannel(similar),
            Channel.CHANNEL_POPULAR: PopularChannel(catalogue),
            Channel.CHANNEL_FRESH: FreshChannel(catalogue),
            Channel.CHANNEL_COLD_START: cold_start_channel(
                bundle, len(catalogue), cold_start_interactions, torch.device(device)
            ),
        }
        return cls(catalogue, users, similar, channels, version)

    @property
    def large(self) -> bool:
        """Whether one retrieval takes milliseconds (lists are looked into for each seed) and not a fraction of one."""
        return isinstance(self._similar, ListsIndex)

    def warm_up(self) -> None:
        """Answer a few requests, so that no caller pays for lazy initialisation. Raises what a channel raises."""
        for length in (0, 1, 50):
            rows = np.arange(length, dtype=np.int64) % len(self._catalogue)
            query = RecallQuery(NO_PROFILE, rows, np.zeros(length, np.float32))
            allowed = self._masks.allowed(KEEP_ALL)
            for channel in self._channels.values():
                channel.recall(query, 100, allowed)

    def retrieve(
        self,
        profile: NDArray[np.int64],
        history: History,
        channels: Sequence[tuple[Channel.ValueType, int]],
        item_filter: ItemFilter = KEEP_ALL,
        time_remaining: Callable[[], float | None] = no_deadline,
        user_id: int = 0,
    ) -> Candidates:
        """Ask each (channel, k); a channel that fails reports its error and leaves the others alone.

        profile: [4] ids. history: oldest first; items that the bundle does not know are ignored and counted.
        time_remaining: seconds until the caller's deadline, None without one. user_id: 0 for an unknown user.
        """
        index = self._catalogue.index_of(history.item_ids)
        known = index > 0
        user = int(self._users.index_of(np.array([user_id], np.int64))[0])
        query = RecallQuery(profile, index[known] - 1, history.ratings[known], user)
        allowed = self._masks.allowed(item_filter)
        # One after another, on purpose. Four channels at 3,883 items took 1.5 ms this way and 1.7 ms in a pool of four
        # threads on two cores; at 110,000 there was no difference, and the pool always took more CPU.
        # Popular and fresh cost microseconds, and a core that this request leaves free answers another.
        results = tuple(self._ask(channel, k, query, allowed, time_remaining) for channel, k in channels)
        return Candidates(results, int(len(known) - known.sum()))

    def similar(
        self, item_id: int, k: int, item_filter: ItemFilter = KEEP_ALL
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and cosines of the k items nearest to `item_id`, which is not among them; NotFoundError if unknown."""
        index = int(self._catalogue.index_of(np.array([item_id], np.int64))[0])
        if index == 0:
            raise NotFoundError(f"item {item_id} is not in bundle {self.version}; ask for an item of its catalogue")
        allowed = self._masks.allowed(item_filter)
        allowed[index - 1] = False
        rows, similarities = self._similar.search(self._similar.vectors(np.array([index - 1]))[0], k, allowed)
        return self._catalogue.ids[rows], similarities

    def _ask(
        self,
        channel: Channel.ValueType,
        k: int,
        query: RecallQuery,
        allowed: NDArray[np.bool_],
        time_remaining: Callable[[], float | None],
    ) -> ChannelCandidates:
        remaining = time_remaining()
        if remaining is not None and remaining <= REPLY_RESERVE_S:
            return ChannelCandidates(channel, error="deadline")
        started = time.perf_counter()
        try:
            recall = self._channels[channel].recall(query, k, allowed)
        except Exception as error:
            name = Channel.Name(channel)
            log.exception("channel %s failed", name)
            reason = str(error) if isinstance(error, RecStackError) else f"{name} failed; see the server's log"
            return ChannelCandidates(channel, error=reason, compute_ms=(time.perf_counter() - started) * 1e3)
        ids = self._catalogue.ids
        compute_ms = (time.perf_counter() - started) * 1e3
        return ChannelCandidates(channel, ids[recall.rows], recall.scores, ids[recall.seed_rows], compute_ms=compute_ms)
