"""Items that hardly anybody has seen yet, by what they are: no interaction is needed to be found here."""

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.bundle import CONTENT, Bundle
from recstack.errors import BundleError
from recstack.features.schema import PROFILE_SIZES
from recstack.models.multimodal import Multimodal
from recstack.models.rankers import load_item_vectors, load_ranker
from services.retrieval.channels.base import NOTHING, Recall, RecallChannel, RecallQuery
from services.retrieval.top_k import top_k

PROFILE_SHAPE = tuple(PROFILE_SIZES.values())

FEW_ITEMS = 20_000
"""So few cold items are compared one by one, which takes less than a millisecond."""

HEAD = 1000
"""Best items that are remembered of a profile that has asked: 12 KB, 70 MB when all 5,808 have."""


class ColdStartChannel:
    """The items with at most `at_most` interactions; the score is the rating that the content model expects.

    Where there are more than FEW_ITEMS, a profile is compared with all of them when it first asks. Later its best HEAD
    answer, unless a filter leaves too few of these. So answers are exact, and most read no more than HEAD items.

    model: in eval mode, knows users by profile alone. item_vectors_IE: its vectors [I+1, E], unknown item first.
    interactions [I]: how many each item had when the bundle was published.
    """

    def __init__(
        self,
        model: Multimodal,
        item_vectors_IE: torch.Tensor,
        interactions: NDArray[np.int64],
        at_most: int,
        device: torch.device,
    ) -> None:
        self._rows = np.flatnonzero(interactions <= at_most)
        self._vectors_CE = item_vectors_IE[1:][torch.from_numpy(self._rows)].float()
        # There are few profiles (5,808), so all are encoded here and none per request.
        profiles_P4 = torch.from_numpy(np.indices(PROFILE_SHAPE).reshape(len(PROFILE_SHAPE), -1).T.copy())
        with torch.inference_mode():
            state = model.to(device).encode_profiles(profiles_P4.to(device))
        self._users_PE, self._offsets_P = state.vectors_BE.float().cpu(), state.offset_B.float().cpu()
        self._heads: dict[int, Recall] = {}

    def recall(self, query: RecallQuery, k: int, allowed: NDArray[np.bool_]) -> Recall:
        """The k allowed items with the highest expected rating."""
        profile = int(np.ravel_multi_index(query.profile, PROFILE_SHAPE))
        if len(self._rows) > FEW_ITEMS:
            head = self._head(profile)
            place = np.flatnonzero(allowed[head.rows])[:k]
            if len(place) == k:
                return Recall(head.rows[place], head.scores[place])
        return self._best(profile, k, allowed[self._rows])

    def _head(self, profile: int) -> Recall:
        """The best HEAD items of a profile, whatever is allowed."""
        head = self._heads.get(profile)
        if head is None:  # requests that both come first find the same
            head = self._heads[profile] = self._best(profile, HEAD, np.ones(len(self._rows), np.bool_))
        return head

    def _best(self, profile: int, k: int, allowed_C: NDArray[np.bool_]) -> Recall:
        """The best of the allowed cold items, by comparing each."""
        rows, vectors_CE = self._rows, self._vectors_CE
        if np.count_nonzero(allowed_C) <= FEW_ITEMS < len(rows):
            rows, vectors_CE = rows[allowed_C], vectors_CE[torch.from_numpy(allowed_C)]
            allowed_C = np.ones(len(rows), np.bool_)
        # Not addmv: without any cold item it gives a number in place of an empty column.
        ratings_C: NDArray[np.float32] = torch.mv(vectors_CE, self._users_PE[profile]).numpy()
        ratings_C += self._offsets_P[profile].item()
        best = top_k(ratings_C, k, allowed_C)
        return Recall(rows[best], ratings_C[best])


class NoColdStart:
    """Stands in where a bundle has no content model."""

    def recall(self, query: RecallQuery, k: int, allowed: NDArray[np.bool_]) -> Recall:
        """Nothing."""
        return NOTHING


def cold_start_channel(bundle: Bundle, items: int, at_most: int, device: torch.device) -> RecallChannel:
    """The channel of a bundle with `items` items; BundleError when its content model does not fit them."""
    if CONTENT not in bundle.manifest.models:
        return NoColdStart()
    folder = bundle.folder / CONTENT
    model, item_vectors_IE = load_ranker(folder), load_item_vectors(folder)
    interactions = np.load(folder / "interactions.npy", allow_pickle=False)
    if not isinstance(model, Multimodal):
        raise BundleError(f"{folder} holds a {type(model).__name__}, expected a Multimodal; publish the bundle again")
    if not len(item_vectors_IE) - 1 == len(interactions) == items:
        raise BundleError(
            f"{folder} has {len(item_vectors_IE) - 1} item vectors and {len(interactions)} interaction counts for "
            f"{items} items; publish the bundle again"
        )
    return ColdStartChannel(model, item_vectors_IE, interactions, at_most, device)
