"""Read plans: resolved once, in the order they name, as bytes that any numpy reader can view."""

import numpy as np
import pytest

from recstack.features.read_plan import compile_plans
from recstack.features.schema import ITEM, SCHEMA


def test_item_plans_name_their_columns_in_order():
    plans = compile_plans(SCHEMA)
    columns = {name: [feature.name for feature in plan.features] for name, plan in plans.items()}
    assert columns == {"ranking": ["year", "genres"], "display": ["year", "genres", "title"]}


def test_columns_are_contiguous_arrays_of_the_declared_dtype():
    rows = np.zeros(3, ITEM.record)
    rows["year"] = [1990, 1991, 1992]
    rows["genres"] = np.arange(18).reshape(3, 6)
    rows["title"] = [b"A", b"B", "Ç".encode()]
    plan = compile_plans(SCHEMA)["display"]
    year, genres, title = (
        np.frombuffer(data, feature.dtype).reshape(3, feature.width)
        for feature, data in zip(plan.features, plan.columns(rows), strict=True)
    )
    assert year.ravel().tolist() == [1990, 1991, 1992]
    assert genres.tolist() == np.arange(18).reshape(3, 6).tolist()
    assert [value.decode() for value in title.ravel()] == ["A", "B", "Ç"]


def test_a_plan_with_an_unknown_feature_does_not_compile():
    with pytest.raises(KeyError, match="runtime"):
        compile_plans(SCHEMA, plans={"bad": ("year", "runtime")})
