"""Protobuf forms of pipeline values, shared by the components that talk to backends."""

from recstack.api.retrieval.v1 import retrieval_pb2
from services.gateway.pipeline.query import Constraints


def item_filter(constraints: Constraints, exclude_item_ids: list[int]) -> retrieval_pb2.ItemFilter:
    """The caller's limits as retrieval applies them, with the ids that must not come back."""
    return retrieval_pb2.ItemFilter(
        exclude_item_ids=exclude_item_ids,
        include_genres=constraints.include_genres,
        exclude_genres=constraints.exclude_genres,
        min_year=constraints.min_year,
        max_year=constraints.max_year,
    )
