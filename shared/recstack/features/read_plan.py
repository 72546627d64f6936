"""Read plans: which columns a caller wants, resolved against the schema once, when a server starts.

Resolving feature names on each request costs as much as Redis itself; here a request only looks a plan up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from recstack.features.schema import Feature, FeatureSet, Schema

ITEM_PLANS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"ranking": ("year", "genres"), "display": ("year", "genres", "title")}
)
"""Columns of each item plan, in the order in which they are returned."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """A compiled plan: the feature set whose rows are read and the features taken from each row, in order."""

    name: str
    feature_set: FeatureSet
    features: tuple[Feature, ...]

    def columns(self, rows: NDArray[np.void]) -> list[bytes]:
        """Each feature of `rows` [N] as the bytes of a C-contiguous little-endian [N, width] array."""
        return [rows[feature.name].tobytes() for feature in self.features]


def compile_plans(
    schema: Schema, feature_set_name: str = "item", plans: Mapping[str, tuple[str, ...]] = ITEM_PLANS
) -> Mapping[str, ReadPlan]:
    """Every plan by name. KeyError when a plan names a feature set or a feature that the schema lacks."""
    feature_set = schema.feature_set(feature_set_name)
    features = {feature.name: feature for feature in feature_set.features}
    return MappingProxyType(
        {
            name: ReadPlan(name, feature_set, tuple(features[column] for column in columns))
            for name, columns in plans.items()
        }
    )
