"""The multimodal model: shapes, what is missing, what it may depend on, and its forms."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recstack.data import synthetic_world
from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch
from recstack.features.content import ItemContent, TitleVocabulary, item_content
from recstack.models.multimodal import Multimodal, encode_content
from recstack.models.multimodal_config import MODALITIES, MultimodalConfig
from recstack.models.poster_cnn import PosterCNN
from recstack.models.ranker import Prediction
from recstack.models.rankers import RANKERS
from recstack.models.storage import load_model, save_model
from recstack.models.text_cnn import TextCNN

WORLD = synthetic_world(seed=3, users=20, items=40, events=400)
VOCABULARY = TitleVocabulary.build(WORLD.items.titles)
NOTEBOOK: dict[str, Any] = {"form": "notebook", "modalities": ("genres", "title", "poster"), "widths": (2, 3, 4, 5)}
FORMS = pytest.mark.parametrize("options", [{}, NOTEBOOK], ids=["full", "notebook"])
PROFILES = torch.tensor([[1, 1, 11, 0], [2, 7, 17, 8], [0, 0, 0, 0]])


@pytest.fixture(scope="module")
def content() -> ItemContent:
    return item_content(WORLD, VOCABULARY)


def make(**options: Any) -> Multimodal:
    torch.manual_seed(0)
    model = Multimodal(MultimodalConfig(num_items=40, vocabulary=VOCABULARY.ngrams, **options)).eval()
    with torch.no_grad():  # memories start at zero, where nothing could be seen of them
        for name, weight in model.named_parameters():
            if any(part in name for part in ("memory", "ngrams", "poster_head")):
                weight.normal_(std=0.1)
            if "ngrams" in name:
                weight[0] = 0.0
    return model


def users(profile_B4: torch.Tensor, items: list[list[int]], ratings: list[list[int]]) -> UserBatch:
    count = len(profile_B4)
    lengths = torch.tensor([len(row) for row in items])
    return UserBatch(profile_B4, torch.tensor(items), torch.tensor(ratings), lengths, torch.zeros(count).long())


@FORMS
def test_scores_are_ratings_of_pairs(options: dict[str, Any], content: ItemContent) -> None:
    model = make(**options)
    vectors_IE = encode_content(model, content)
    state = model.encode_profiles(PROFILES)
    candidates_BN = torch.tensor([[1, 2], [3, 3], [0, 40]])

    scores_BN = model.score(state, vectors_IE[candidates_BN])
    everything_BI = model.score_all(state, vectors_IE)

    assert vectors_IE.shape[0] == 41
    torch.testing.assert_close(scores_BN, everything_BI.gather(1, candidates_BN))
    assert model.prediction is Prediction.RATING
    assert model.predict(torch.tensor([[-3.0, 9.0]])).tolist() == [[1.0, 5.0]]


def test_the_notebook_predicts_five_times_the_cosine(content: ItemContent) -> None:
    model = make(**NOTEBOOK)
    vectors_IE, state = encode_content(model, content)[1:], model.encode_profiles(PROFILES[:2])

    assert vectors_IE.shape[1] == 200
    cosine_BI = torch.cosine_similarity(state.vectors_BE.unsqueeze(1), vectors_IE.unsqueeze(0), dim=2)
    torch.testing.assert_close(model.score_all(state, vectors_IE), 5 * cosine_BI)
    assert [field[0].num_embeddings for field in model.users.fields] == [2, 57, 21]  # type: ignore[index, union-attr]


def test_the_notebook_reads_ages_as_their_codes() -> None:
    model = make(**NOTEBOOK)
    before = model.encode_profiles(PROFILES).vectors_BE
    with torch.no_grad():
        model.users.fields[1][0].weight[56] += 1.0  # type: ignore[index, union-attr]
    changed = (model.encode_profiles(PROFILES).vectors_BE != before).any(1)
    assert changed.tolist() == [False, True, False]


@FORMS
def test_an_item_vector_does_not_depend_on_its_batch(options: dict[str, Any], content: ItemContent) -> None:
    model = make(**options)
    alone = content.rows(torch.tensor([7]))
    torch.testing.assert_close(
        model.encode_items(alone.table, alone)[0], encode_content(model, content)[7], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "column"),
    [({}, "ngrams_IG"), ({}, "posters_I3HX"), (NOTEBOOK, "words_IW"), (NOTEBOOK, "posters_I3HX")],
)
def test_title_and_poster_are_read(options: dict[str, Any], column: str, content: ItemContent) -> None:
    model = make(**options)
    values = getattr(content, column).clone()
    values[5] = values[6]
    changed = (encode_content(model, replace(content, **{column: values})) != encode_content(model, content)).any(1)
    assert changed.nonzero().flatten().tolist() == [5]


@FORMS
@pytest.mark.parametrize("left_out", ["genres", "title", "poster"])
def test_a_modality_that_is_not_configured_is_not_read(
    options: dict[str, Any], left_out: str, content: ItemContent
) -> None:
    modalities = tuple(name for name in options.get("modalities", MODALITIES) if name != left_out)
    model = make(**(options | {"modalities": modalities}))
    table = replace(content.table, genres=torch.zeros_like(content.table.genres))
    without = {
        "genres": replace(content, table=table),
        "title": replace(content, words_IW=content.words_IW * 0, ngrams_IG=content.ngrams_IG * 0),
        "poster": replace(content, has_poster_I=torch.zeros(41, dtype=torch.bool)),
    }[left_out]
    torch.testing.assert_close(encode_content(model, without), encode_content(model, content))


@FORMS
def test_pictures_of_items_without_a_poster_are_not_seen(options: dict[str, Any], content: ItemContent) -> None:
    model = make(**options)
    nobody = replace(content, has_poster_I=torch.zeros(41, dtype=torch.bool))
    noise = replace(nobody, posters_I3HX=torch.randint(0, 255, content.posters_I3HX.shape).to(torch.uint8))
    torch.testing.assert_close(encode_content(model, noise), encode_content(model, nobody))


@FORMS
def test_a_table_alone_is_content_without_title_and_poster(options: dict[str, Any], content: ItemContent) -> None:
    model = make(**options)
    bare = replace(
        content,
        words_IW=content.words_IW * 0,
        ngrams_IG=content.ngrams_IG * 0,
        has_poster_I=torch.zeros(41, dtype=torch.bool),
    )
    torch.testing.assert_close(model.encode_items(content.table), encode_content(model, bare))


def test_a_profile_that_nobody_had_is_judged_by_its_parts() -> None:
    model = make()
    assert isinstance(model.users.memory, torch.nn.Embedding)
    with torch.no_grad():
        model.users.memory.weight.copy_(
            torch.arange(len(model.users.memory.weight)).float().unsqueeze(1).expand(-1, 33)
        )
        model.users.out.weight.zero_()  # type: ignore[union-attr, operator]
        model.users.out.bias.zero_()  # type: ignore[union-attr, operator]
    grid = torch.cartesian_prod(torch.arange(3), torch.arange(8), torch.arange(22), torch.arange(11))
    ids = set(model.encode_profiles(grid).offset_B.tolist())
    assert len(ids) == len(grid) == len(model.users.memory.weight)


def test_ratings_above_the_prediction_raise_the_offset(content: ItemContent) -> None:
    model = make(max_history=50, leniency_prior=2.0)
    model.start(3.0, content)
    vectors_IE = encode_content(model, content)
    profiles = PROFILES[1:2].expand(4, -1)
    base = model.encode_profiles(profiles)
    items, ratings = [[3, 4]] * 4, [[5, 5], [1, 1], [0, 0], [5, 0]]

    state = model.encode_users(users(profiles, items, ratings), vectors_IE)

    predicted = model.predict(model.score(base, vectors_IE[torch.tensor(items)])).detach()
    moved = (state.offset_B - base.offset_B).detach()
    assert moved[0] == pytest.approx(float((5 - predicted[0]).sum() / 4), abs=1e-5)
    assert moved[1] < 0 < moved[0]
    assert moved[2] == 0
    assert moved[3] == pytest.approx(float((5 - predicted[3, 0]) / 3), abs=1e-5)


def test_without_history_only_the_profile_counts(content: ItemContent) -> None:
    model = make()
    vectors_IE = encode_content(model, content)
    state = model.encode_users(users(PROFILES, [[3, 4]] * 3, [[5, 5]] * 3), vectors_IE)
    torch.testing.assert_close(state.offset_B, model.encode_profiles(PROFILES).offset_B)


@FORMS
def test_a_model_survives_its_file(options: dict[str, Any], content: ItemContent, tmp_path: Path) -> None:
    model = make(**options)
    save_model(tmp_path, "multimodal", model)
    again = load_model(tmp_path, RANKERS)
    assert isinstance(again, Multimodal)
    assert again.config == model.config
    torch.testing.assert_close(encode_content(again, content), encode_content(model, content))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"form": "other"}, "form"),
        ({"modalities": ()}, "modalities"),
        ({"modalities": ("genres", "sound")}, "modalities"),
        ({"profile": ("age", "age")}, "profile"),
        ({"hidden": 0}, "hidden"),
        ({"widths": ()}, "widths"),
        ({"dropout": 1.0}, "dropout"),
        ({"leniency_prior": 0.0}, "leniency_prior"),
        ({"max_history": 5, "form": "notebook"}, "max_history"),
    ],
)
def test_a_wrong_config_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        MultimodalConfig(**({"num_items": 3, "vocabulary": ()} | options))


def test_text_filters_see_short_texts_and_not_the_padding() -> None:
    torch.manual_seed(0)
    cnn = TextCNN(vocabulary_size=10, dim=4, widths=(1, 3), filters=5)
    assert cnn.out_features == 10
    one = cnn(torch.tensor([[4, 2, 0, 0, 0], [7, 0, 0, 0, 0], [0, 0, 0, 0, 0]]))
    assert one.shape == (3, 10)
    torch.testing.assert_close(one, cnn(torch.tensor([[4, 2, 0], [7, 0, 0], [0, 0, 0]])))
    assert one[1].any()
    assert not one[2].any()


def test_a_picture_is_seen_the_same_in_any_batch() -> None:
    torch.manual_seed(0)
    cnn = PosterCNN((8, 16))
    pictures = torch.randint(0, 255, (5, 3, 12, 8)).to(torch.uint8)
    assert cnn.out_features == 16
    torch.testing.assert_close(cnn(pictures)[2:3], cnn(pictures[2:3]), atol=1e-5, rtol=1e-5)
