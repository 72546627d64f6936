"""Whether two stacks give the same answers: without this, comparing their speed means nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from recstack.local import LocalStack
from tests.bench.peers.default_stack import DefaultClient, DefaultStack

SCORE_TOLERANCE = 1e-4
"""Probabilities of a like; the sides compute the same in another order."""
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one user is shown: title and score by item id."""

    titles: dict[int, str]
    scores: dict[int, float]


def check_same_answers(ours: LocalStack, other: DefaultStack, users: Sequence[int], k: int) -> None:
    """AssertionError when the stacks recommend different items, titles or scores to one of the users."""
    theirs = asyncio.run(_answers_of(other, users, k))
    with ours.client(timeout=TIMEOUT_S) as client:
        for user_id, their in zip(users, theirs, strict=True):
            shown = client.recommend(user_id, k)
            assert not shown.degraded, shown.degraded
            items = shown.items
            mine = Answer({item.item_id: item.title for item in items}, {item.item_id: item.score for item in items})
            check_same(mine, their)


def check_same(one: Answer, other: Answer) -> None:
    """AssertionError when items, titles or scores differ. Items of equal score may stand in for each other."""
    assert len(one.scores) == len(other.scores), f"{len(one.scores)} items and {len(other.scores)}"
    for item_id in one.scores.keys() & other.scores.keys():
        assert one.titles[item_id] == other.titles[item_id], f"item {item_id}: titles differ"
        difference = abs(one.scores[item_id] - other.scores[item_id])
        assert difference <= SCORE_TOLERANCE, f"item {item_id}: scores differ by {difference:.2g}"
    for have, lack in ((one, other), (other, one)):
        worst = min(lack.scores.values())
        for item_id in have.scores.keys() - lack.scores.keys():
            assert have.scores[item_id] <= worst + SCORE_TOLERANCE, f"item {item_id} is shown by one stack alone"


async def _answers_of(stack: DefaultStack, users: Sequence[int], k: int) -> list[Answer]:
    answers = []
    async with DefaultClient(stack.url, TIMEOUT_S) as client:
        for user_id in users:
            items = await client.recommend(user_id, k)
            titles = {item["item_id"]: item["title"] for item in items}
            answers.append(Answer(titles, {item["item_id"]: item["score"] for item in items}))
    return answers
