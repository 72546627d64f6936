"""Titles, genres, years and posters as tensors."""

import pytest
import torch

from recstack.data import synthetic_world
from recstack.features.content import (
    MAX_NGRAMS,
    MAX_WORDS,
    UNKNOWN_WORD,
    TitleVocabulary,
    item_content,
    title_ngrams,
    title_words,
)


def test_words_are_lower_case_and_brackets_and_colons_count() -> None:
    assert title_words("Star Wars: Episode IV") == ["star", "wars", ":", "episode", "iv"]
    assert title_words("Boot, Das (The Boat)") == ["boot", "das", "(", "the", "boat"]
    assert title_words("Schindler's Liste, 8½ ") == ["schindler's", "liste", "8½"]


def test_a_vocabulary_knows_the_words_of_enough_titles() -> None:
    titles = ("The Fox", "The Owl", "Fox Fox")
    assert TitleVocabulary.build(titles).words == ("fox", "owl", "the")
    common = TitleVocabulary.build(titles, at_least=2)
    assert common.words == ("fox", "the")
    assert len(common) == 4
    assert common.encode("The Owl Fox") == [3, UNKNOWN_WORD, 2]
    assert TitleVocabulary(common.words).encode("the fox") == common.encode("The Fox")


def test_long_titles_are_cut() -> None:
    title = " ".join(f"word{number}" for number in range(40))
    assert len(TitleVocabulary.build([title]).encode(title)) == MAX_WORDS
    assert len(title_ngrams(title, 1000)) == MAX_NGRAMS


def test_ngrams_are_the_same_in_every_process_and_shared_between_alike_titles() -> None:
    assert title_ngrams("Fox", 1 << 16) == [16833, 45481, 61575, 21929, 3403, 28561]
    one, other, different = (set(title_ngrams(title, 1 << 16)) for title in ("Batman", "Batmen", "Orchard"))
    assert len(one & other) > len(one & different)
    assert min(title_ngrams("The Fox and the Owl", 8)) >= 1
    assert max(title_ngrams("The Fox and the Owl", 8)) <= 7


@pytest.fixture(scope="module")
def content_and_titles():
    world = synthetic_world(seed=1, users=20, items=40, events=400)
    vocabulary = TitleVocabulary.build(world.items.titles)
    return item_content(world, vocabulary, 512), world.items.titles, vocabulary


def test_the_unknown_item_comes_first_and_is_empty(content_and_titles) -> None:
    content, titles, vocabulary = content_and_titles
    assert len(content) == 41
    assert not content.words_IW[0].any()
    assert not content.ngrams_IG[0].any()
    assert not content.posters_I3HX[0].any()
    assert not content.has_poster_I[0]
    words = vocabulary.encode(titles[6])
    assert content.words_IW[7].tolist() == words + [0] * (MAX_WORDS - len(words))
    assert content.has_poster_I[1:].all()


def test_rows_are_taken_from_every_column(content_and_titles) -> None:
    content, _, _ = content_and_titles
    part = content.rows(torch.tensor([3, 1]))
    assert len(part) == 2
    assert torch.equal(part.table.genres, content.table.genres[[3, 1]])
    assert torch.equal(part.table.year_bucket, content.table.year_bucket[[3, 1]])
    assert torch.equal(part.words_IW, content.words_IW[[3, 1]])
    assert torch.equal(part.ngrams_IG, content.ngrams_IG[[3, 1]])
    assert torch.equal(part.posters_I3HX, content.posters_I3HX[[3, 1]])
    assert torch.equal(part.has_poster_I, content.has_poster_I[[3, 1]])
