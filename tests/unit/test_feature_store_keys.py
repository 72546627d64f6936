"""Keys: everything that one script or one MGET touches lies in one hash slot, and users spread over all shards."""

import pytest
from redis.crc import key_slot

from services.feature_store import keys


@pytest.mark.parametrize("user_id", [0, 1, 63, 64, 2**63 - 1])
def test_all_keys_of_a_user_share_a_slot(user_id):
    shard = keys.shard_of(user_id)
    names = [
        keys.profile(user_id),
        keys.history(user_id),
        keys.user_counters(user_id),
        keys.seen_event(user_id, "an {event} id"),
        keys.item_counters(shard),
        keys.log(shard),
    ]
    assert len({key_slot(name) for name in names}) == 1
    assert len(set(names)) == len(names)


def test_users_spread_over_all_shards_and_slots():
    assert {keys.shard_of(user_id) for user_id in range(1000)} == set(range(keys.NUM_SHARDS))
    assert len({key_slot(keys.history(user_id)) for user_id in range(1000)}) == keys.NUM_SHARDS


def test_all_items_share_a_slot():
    assert len({key_slot(keys.item(item_id)) for item_id in range(1000)}) == 1
