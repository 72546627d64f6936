"""The row codec: any rows come back, missing ones as zeros, stale ones with their value, foreign ones never."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recstack.errors import BundleError
from recstack.features.codec import MISSING, PRESENT, STALE, RowCodec
from recstack.features.schema import ITEM, SCHEMA, USER, Feature, FeatureSet, Schema

OTHER_SCHEMA = Schema((FeatureSet("item", (*ITEM.features, Feature("runtime", "<i2"))),))


@st.composite
def stored_rows(draw):
    """A feature set, rows with any bytes, and which of them are missing."""
    feature_set = draw(st.sampled_from([USER, ITEM]))
    count = draw(st.integers(0, 40))
    raw = draw(hnp.arrays(np.uint8, (count, feature_set.record.itemsize)))
    missing = draw(hnp.arrays(np.bool_, count))
    return feature_set, np.frombuffer(raw.tobytes(), feature_set.record), missing


@given(stored_rows(), st.integers(1, 2**62))
def test_any_rows_and_any_missing_pattern_round_trip(case, event_time_ms):
    feature_set, rows, missing = case
    codec = RowCodec(SCHEMA, feature_set)
    values = [None if gone else value for value, gone in zip(codec.encode(rows, event_time_ms), missing, strict=True)]
    decoded = codec.decode(values, now_ms=2**62)
    expected = rows.copy()
    expected[missing] = np.zeros((), feature_set.record)
    assert decoded.rows.tobytes() == expected.tobytes()
    assert decoded.statuses.tolist() == [MISSING if gone else PRESENT for gone in missing]
    assert decoded.event_times_ms.tolist() == [0 if gone else event_time_ms for gone in missing]


@given(st.integers(1, 10**15), st.integers(0, 10**15), st.integers(0, 10**6))
def test_rows_older_than_the_ttl_are_stale_and_keep_their_value(event_time_ms, age_ms, ttl_ms):
    codec = RowCodec(SCHEMA, USER, ttl_ms)
    rows = np.array([(2, 3, 4, 5)], USER.record)
    decoded = codec.decode([*codec.encode(rows, event_time_ms), None], now_ms=event_time_ms + age_ms)
    assert decoded.statuses.tolist() == [STALE if ttl_ms and age_ms > ttl_ms else PRESENT, MISSING]
    assert decoded.rows[0].item() == (2, 3, 4, 5)


def test_rows_of_another_schema_are_refused():
    theirs = RowCodec(OTHER_SCHEMA, OTHER_SCHEMA.feature_set("item"))
    ours = RowCodec(SCHEMA, ITEM)
    foreign = theirs.encode(np.zeros(1, OTHER_SCHEMA.feature_set("item").record), 1)
    own = ours.encode(np.zeros(1, ITEM.record), 1)
    with pytest.raises(BundleError, match=f"another feature schema.*{SCHEMA.hash}.*load the features"):
        ours.decode([*own, None, *foreign], now_ms=1)


def test_rows_of_another_schema_with_the_same_length_are_refused():
    same_shape = Schema((ITEM,), ("another vocabulary",))
    foreign = RowCodec(same_shape, ITEM).encode(np.zeros(1, ITEM.record), 1)
    with pytest.raises(BundleError, match="another feature schema"):
        RowCodec(SCHEMA, ITEM).decode(foreign, now_ms=1)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=6).filter(any), st.booleans())
def test_rows_of_a_wrong_length_are_refused_even_when_the_lengths_add_up(changes, balance):
    codec = RowCodec(SCHEMA, USER)
    changes = [*changes, -sum(changes)] if balance else changes
    (value,) = codec.encode(np.array([(1, 1, 1, 1)], USER.record), event_time_ms=77)
    values = [value[: len(value) + change] + bytes(max(change, 0)) for change in changes]
    with pytest.raises(BundleError, match="another feature schema"):
        codec.decode(values, now_ms=100)


def test_decoded_rows_cannot_be_changed():
    codec = RowCodec(SCHEMA, USER)
    decoded = codec.decode(codec.encode(np.ones(1, USER.record), 1), now_ms=1)
    with pytest.raises(ValueError, match="read-only"):
        decoded.rows["gender"] = 0
