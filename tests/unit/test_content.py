"""Titles, genres, years and posters as tensors."""

from dataclasses import replace

import pytest
import torch

from recstack.data import synthetic_world
from recstack.features.content import (
    MAX_NGRAMS,
    MAX_WORDS,
    UNKNOWN_WORD,
    TitleVocabulary,
    item_content,
    title_words,
)


def test_words_are_lower_case_and_brackets_and_colons_count() -> None:
    assert title_words("Star Wars: Episode IV") == ["star", "wars", ":", "episode", "iv"]
    assert title_words("Boot, Das (The Boat)") == ["boot", "das", "(", "the", "boat"]
    assert title_words("Schindler's Liste, 8½ ") == ["schindler's", "liste", "8½"]


def test_a_vocabulary_knows_words_and_their_neighbours() -> None:
    vocabulary = TitleVocabulary.build(("The Fox", "Fox Fox"))
    assert vocabulary.ngrams == (" fox", " the", "fox", "fox ", "fox fox", "the", "the fox")
    assert len(vocabulary) == 9
    assert vocabulary.words("Fox, the Owl") == [4, 7, UNKNOWN_WORD]
    assert vocabulary.bag("The Fox") == [7, 4, 3, 8, 5]
    assert vocabulary.bag("An Owl") == []
    assert TitleVocabulary(vocabulary.ngrams).bag("fox fox") == vocabulary.bag("Fox Fox")


def test_long_titles_are_cut() -> None:
    title = " ".join(f"word{number}" for number in range(40))
    vocabulary = TitleVocabulary.build([title])
    assert len(vocabulary.words(title)) == MAX_WORDS
    assert len(vocabulary.bag(title)) == MAX_NGRAMS


@pytest.fixture(scope="module")
def content_and_titles():
    world = synthetic_world(seed=1, users=20, items=40, events=400)
    vocabulary = TitleVocabulary.build(world.items.titles)
    return item_content(world, vocabulary), world.items.titles, vocabulary


def test_the_unknown_item_comes_first_and_is_empty(content_and_titles) -> None:
    content, titles, vocabulary = content_and_titles
    assert len(content) == 41
    assert not content.words_IW[0].any()
    assert not content.ngrams_IG[0].any()
    assert not content.posters_I3HX[0].any()
    assert not content.has_poster_I[0]
    words = vocabulary.words(titles[6])
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


def test_a_catalogue_without_posters_takes_no_memory_for_them() -> None:
    world = replace(synthetic_world(seed=1, users=20, items=40, events=400), name="no posters are drawn for it")
    content = item_content(world, TitleVocabulary.build(world.items.titles))
    assert content.posters_I3HX.shape == (41, 3, 48, 32)
    assert content.posters_I3HX.untyped_storage().nbytes() == 3 * 48 * 32
    assert not content.has_poster_I.any()
    assert content.rows(torch.tensor([3, 1])).posters_I3HX.shape == (2, 3, 48, 32)
