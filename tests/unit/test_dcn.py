"""Deep & Cross as a ranker: what its inputs do, and what it must not see."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch, user_batch
from recstack.features.catalogue import ItemTable
from recstack.models.dcn import DCN, DCNConfig
from recstack.models.rankers import load_ranker, save_ranker

ITEMS, USERS = 12, 5
NOTEBOOK = DCNConfig(
    num_items=ITEMS, prediction="rating", profile=("gender", "age", "occupation"), year=False, pooling="average",
    cross="vector", cross_layers=4, deep=(64, 32), batch_norm=True,
)  # fmt: skip
HISTORY = DCNConfig(
    num_items=ITEMS, id_dim=6, half_lives=(0.0, 3.0), history_dim=5, max_history=8, deep=(16,), embedding_dim=4
)
MEMORIES = DCNConfig(
    num_items=ITEMS, num_users=USERS, prediction="rating", id_dim=4, memory_dim=6, half_lives=(3.0,), max_history=8,
    cross="mixture", cross_rank=3, deep=(16,), embedding_dim=4,
)  # fmt: skip
ALL = pytest.mark.parametrize("config", [NOTEBOOK, HISTORY, MEMORIES], ids=["notebook", "history", "memories"])


def table() -> ItemTable:
    generator = torch.Generator().manual_seed(1)
    genres = torch.randint(0, 19, (ITEMS + 1, 6), generator=generator).sort(1, descending=True)[0]
    genres[0] = 0
    return ItemTable(torch.randint(1, 60, (ITEMS + 1,), generator=generator), genres)


def users(*histories: tuple[list[int], list[int]]) -> UserBatch:
    profiles = np.array([[1 + row % 2, 1 + row, 2 + row, 1] for row in range(len(histories))])
    items = [np.array(history[0], np.int64) for history in histories]
    ratings = [np.array(history[1], np.float32) for history in histories]
    return user_batch(profiles, items, ratings, 8, np.arange(1, len(histories) + 1))


TWO = users(([3, 4, 5], [5, 1, 4]), ([7], [2]))


def model(config: DCNConfig) -> DCN:
    torch.manual_seed(0)
    made = DCN(config)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    made.learn_memories(torch.tensor([1, 1, 2, 3]), torch.tensor([3, 4, 7, 7]), torch.tensor([5, 1, 2, 4]))
    made.refresh_memories()
    return made.eval()


def scores(made: DCN, batch: UserBatch, items: list[int], visible: list[list[int]] | None = None) -> torch.Tensor:
    vectors = made.encode_items(table())
    candidates = vectors[torch.tensor(items)].expand(len(batch.lengths_B), -1, -1)
    return made.score(made.encode_users(batch, vectors), candidates, None if visible is None else torch.tensor(visible))


@ALL
def test_each_candidate_is_scored_on_its_own(config: DCNConfig) -> None:
    made = model(config)
    together = scores(made, TWO, [1, 2, 9, 9])
    assert together.shape == (2, 4)
    torch.testing.assert_close(together[:, 1:2], scores(made, TWO, [2]))
    torch.testing.assert_close(together[:, 2], together[:, 3])
    assert (together[:, 0] - together[:, 1]).abs().min() > 1e-4


@ALL
def test_a_saved_model_scores_the_same(config: DCNConfig, tmp_path: Path) -> None:
    made = model(config)
    save_ranker(made, tmp_path, made.encode_items(table()))
    loaded = load_ranker(tmp_path)
    assert isinstance(loaded, DCN)
    assert loaded.config == config
    torch.testing.assert_close(scores(loaded, TWO, [1, 2]), scores(made, TWO, [1, 2]))


def test_the_notebooks_input_is_the_mean_of_all_tokens() -> None:
    made, batch, items = model(NOTEBOOK), TWO, table()
    genres = made.genre_embedding(items.genres[4]).sum(0)
    profile = sum(embed(batch.profile_B4[1, column]) for column, embed in enumerate(made.profile_embeddings))
    start_D = ((genres + profile) / 9).unsqueeze(0)
    cross, deep = made.cross_out(made.cross(start_D)), made.deep_out(made.deep(start_D))
    torch.testing.assert_close(scores(made, batch, [4])[1], ((cross + deep) / 2)[0])


def test_a_set_of_genres_counts_as_a_whole_and_in_any_order() -> None:
    made = model(DCNConfig(num_items=ITEMS, year=False, genre_sets=64, embedding_dim=4, deep=(8,)))
    genres = torch.tensor([[1, 5, 0, 0, 0, 0], [5, 1, 0, 0, 0, 0], [1, 7, 0, 0, 0, 0]])
    sets = made.encode_items(ItemTable(torch.zeros(3, dtype=torch.int64), genres))[:, 4:8]
    torch.testing.assert_close(sets[0], sets[1])
    assert (sets[0] - sets[2]).abs().min() > 1e-4


def test_a_visible_prefix_is_a_shorter_history() -> None:
    made = model(HISTORY)
    short = users(([3, 4], [5, 1]), ([], []))
    torch.testing.assert_close(scores(made, TWO, [1, 2], [[2, 2], [0, 0]]), scores(made, short, [1, 2]))
    assert (scores(made, TWO, [1, 2]) - scores(made, short, [1, 2])).abs().min() > 1e-4


def test_padding_changes_nothing() -> None:
    made = model(HISTORY)
    alone = users(([3, 4, 5], [5, 1, 4]))
    torch.testing.assert_close(scores(made, TWO, [1, 2])[:1], scores(made, alone, [1, 2]))


def test_what_the_user_thought_of_the_past_counts() -> None:
    made = model(HISTORY)
    liked, disliked = users(([3, 4], [5, 5])), users(([3, 4], [1, 1]))
    assert (scores(made, liked, [1, 2]) - scores(made, disliked, [1, 2])).abs().min() > 1e-3


def test_a_rating_that_is_not_remembered_changes_nothing_and_one_that_is_does() -> None:
    users_, items, ratings = torch.tensor([1, 1, 2, 3]), torch.tensor([3, 4, 7, 7]), torch.tensor([5, 1, 2, 4])
    predicted = []
    for remembered in (slice(0, 4), slice(1, 4), slice(1, 4)):
        made = model(MEMORIES).train()
        made.learn_memories(users_[remembered], items[remembered], ratings[remembered])
        predicted.append(scores(made, TWO, [3]))
        ratings[0] = 1
    assert (predicted[0] - predicted[1]).abs().min() > 1e-4
    torch.testing.assert_close(predicted[1], predicted[2])


def test_an_unknown_user_is_scored_without_a_memory() -> None:
    made, batch = model(MEMORIES), dataclasses.replace(TWO, users_B=torch.zeros(2, dtype=torch.int64))
    unknown = scores(made, batch, [1, 2])
    assert (unknown - scores(made, TWO, [1, 2])).abs().min() > 1e-4


def test_tables_follow_the_convention_of_collaborative_models() -> None:
    made = model(MEMORIES)
    assert made.user_embeddings is not None
    assert made.item_embeddings is not None
    assert made.user_embeddings.weight.shape[0] == USERS + 1
    assert made.item_embeddings.weight.shape[0] == ITEMS + 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"profile": ("height",)}, "height"),
        ({"pooling": "average", "id_dim": 4}, "average"),
        ({"num_users": 3}, "num_users"),
        ({"memory_dim": 3}, "memory_dim"),
        ({"half_lives": (2.0,), "id_dim": 4}, "max_history"),
        ({"deep": ()}, "deep"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_a_config_that_cannot_work_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        DCNConfig(num_items=3, **changes)  # type: ignore[arg-type]
