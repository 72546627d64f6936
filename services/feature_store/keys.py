"""Redis keys. All keys of one user share one hash slot, so that one script may touch them in a Redis Cluster too."""

NUM_SHARDS = 64
"""Users are spread over this many hash tags; a change moves every key, so it is a constant."""


def shard_of(user_id: int) -> int:
    """The shard that holds all keys of a user."""
    return user_id % NUM_SHARDS


def profile(user_id: int) -> bytes:
    """Packed row of the user feature set."""
    return b"{s%d}user:%d" % (shard_of(user_id), user_id)


def history(user_id: int) -> bytes:
    """HISTORY_RECORDs back to back, in event-time order."""
    return b"{s%d}history:%d" % (shard_of(user_id), user_id)


def user_counters(user_id: int) -> bytes:
    """Hash: event type number -> events of this user."""
    return b"{s%d}user_counters:%d" % (shard_of(user_id), user_id)


def seen_event(user_id: int, event_id: str) -> bytes:
    """Marks an event id as written."""
    return b"{s%d}event:%d:%b" % (shard_of(user_id), user_id, event_id.encode())


def item_counters(shard: int) -> bytes:
    """Hash: item id -> four little-endian int64: impressions, clicks, watches, ratings by this shard's users."""
    return b"{s%d}item_counters" % shard


def log(shard: int) -> bytes:
    """Stream of this shard's events in the order in which they were written."""
    return b"{s%d}log" % shard


def item(item_id: int) -> bytes:
    """Packed row of the item feature set. One hash tag for all items keeps GetItems one MGET in a cluster too."""
    return b"{item}:%d" % item_id
