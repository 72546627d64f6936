"""Protobuf forms of pipeline values, shared by the components that talk to backends."""

from recstack.api.common.v1 import common_pb2
from recstack.api.retrieval.v1 import retrieval_pb2
from services.gateway.pipeline.query import Constraints, Profile, User


def profile_message(profile: Profile) -> common_pb2.UserProfile:
    """The profile that models are given."""
    return common_pb2.UserProfile(
        gender=profile.gender, age=profile.age, occupation=profile.occupation, region=profile.region
    )


def history_message(user: User) -> common_pb2.History:
    """The history that models are given."""
    return common_pb2.History(
        item_ids=user.history_item_ids.tolist(),
        timestamps_ms=user.history_timestamps_ms.tolist(),
        ratings=user.history_ratings.tolist(),
    )


def item_filter(constraints: Constraints, exclude_item_ids: list[int]) -> retrieval_pb2.ItemFilter:
    """The caller's limits as retrieval applies them, with the ids that must not come back."""
    return retrieval_pb2.ItemFilter(
        exclude_item_ids=exclude_item_ids,
        include_genres=constraints.include_genres,
        exclude_genres=constraints.exclude_genres,
        min_year=constraints.min_year,
        max_year=constraints.max_year,
    )
