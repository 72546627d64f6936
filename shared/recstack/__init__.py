"""RecStack: an open-source recommender stack in Python.

from recstack import Client

with Client("127.0.0.1:50051") as client:
    for item in client.recommend(user_id=42, k=10):
        print(item.title, item.score)
"""

__version__ = "0.1.0"

from recstack.client import AsyncClient, Client, Tls
from recstack.client.types import (
    ChannelEvidence,
    Event,
    EventType,
    Explanation,
    Explanations,
    FeatureStatus,
    Filter,
    HistoryInfluence,
    Recommendation,
    RecommendationList,
    ScoreKind,
    ServerInfo,
    SimilarItem,
    SimilarItems,
    StackInfo,
    StageTiming,
)
from recstack.errors import (
    BundleError,
    DataError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RecStackError,
    StackError,
    UnavailableError,
)

__all__ = [
    "AsyncClient",
    "BundleError",
    "ChannelEvidence",
    "Client",
    "DataError",
    "DeadlineError",
    "Event",
    "EventType",
    "Explanation",
    "Explanations",
    "FeatureStatus",
    "Filter",
    "HistoryInfluence",
    "InvalidRequestError",
    "NotFoundError",
    "OverloadedError",
    "RecStackError",
    "Recommendation",
    "RecommendationList",
    "ScoreKind",
    "ServerInfo",
    "SimilarItem",
    "SimilarItems",
    "StackError",
    "StackInfo",
    "StageTiming",
    "Tls",
    "UnavailableError",
]
