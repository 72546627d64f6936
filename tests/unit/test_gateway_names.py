"""Names of channels and genres, both ways."""

import pytest

from recstack.features.channels import CHANNELS, channel_mask, channel_name, channel_names
from recstack.features.schema import GENRES, genre_ids, genre_names


def test_channels_follow_the_contract() -> None:
    assert CHANNELS == ("two_tower", "item_to_item", "popular", "fresh", "cold_start")
    assert channel_name(3) == "popular"


@pytest.mark.parametrize(
    ("mask", "names"),
    [(0, ()), (1, ("two_tower",)), (0b1010, ("item_to_item", "fresh")), (0b1000001, ("two_tower", "channel_7"))],
)
def test_channel_names_of_a_mask(mask: int, names: tuple[str, ...]) -> None:
    assert channel_names(mask) == names
    assert channel_mask(names) == mask


@pytest.mark.parametrize("channel", [0, 9, -1])
def test_a_channel_of_a_newer_server_has_a_name_too(channel: int) -> None:
    assert channel_name(channel) == f"channel_{channel}"


def test_genres_there_and_back() -> None:
    assert genre_ids(GENRES) == tuple(range(1, 19))
    assert genre_names((5, 0, 18, 0)) == ("Comedy", "Western")


def test_an_unknown_genre_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown genre 'Commedy'; known genres are Action, .*Western"):
        genre_ids(["Drama", "Commedy"])


@pytest.mark.parametrize("name", ["", "Popular", "channel_0", "channel_1", "channel_33", "channel_x"])
def test_names_that_no_channel_has_make_no_mask(name: str) -> None:
    with pytest.raises(ValueError, match="channels are two_tower,"):
        channel_mask([name])
