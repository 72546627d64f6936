"""The parts of a Recommend as direct calls: the arithmetic, one Redis round trip, and the messages of its RPCs."""

import socket
from dataclasses import dataclass
from time import process_time
from urllib.parse import urlsplit

import hiredis
import numpy as np
import psutil
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from recstack.api.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from recstack.api.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from recstack.bundle import BundleStore
from recstack.config import Settings
from recstack.features.batch import History
from recstack.features.messages import history_columns, profile_ids
from recstack.rpc.channel import aio_channel
from services.feature_store import keys
from services.ranking.scorer import RankQuery, Scorer
from services.retrieval.engine import RetrievalEngine
from services.retrieval.item_filter import ItemFilter
from tests.bench.noop_server import Hop

ROUND_TRIPS = 500


@dataclass(frozen=True, slots=True)
class UserRead:
    """A user as arrays, and as the feature store sent them."""

    user_id: int
    profile: NDArray[np.int64]
    history: History
    seen: NDArray[np.int64]
    reply: features_pb2.GetUserResponse


class InProcess:
    """The active bundle's models in this process, and the addresses of the stack that serves the same bundle."""

    def __init__(self, settings: Settings, candidates: int) -> None:
        store = BundleStore.of(settings)
        bundle = store.open(store.active() or "")
        self._settings = settings
        self._candidates = candidates
        self._engine = RetrievalEngine.load(bundle)
        self._scorer = Scorer.load(bundle)
        self._items = bundle.catalogue().ids[:candidates]
        self._engine.warm_up()
        self._scorer.warm_up()

    async def read_users(self, count: int, history_length: int) -> list[UserRead]:
        """The first `count` known users with as many history events as asked for."""
        users: list[UserRead] = []
        async with aio_channel(self._settings.feature_store.address) as channel:
            stub = features_pb2_grpc.FeatureStoreServiceStub(channel)
            for user_id in range(1, 100 * count):
                request = features_pb2.GetUserRequest(user_id=user_id, history_length=history_length)
                reply = await stub.GetUser(request)
                if len(reply.history.item_ids) == history_length:
                    history = history_columns(reply.history, history_length)
                    seen = np.array(reply.seen_item_ids, np.int64)
                    users.append(UserRead(user_id, profile_ids(reply.profile), history, seen, reply))
                if len(users) == count:
                    return users
        raise LookupError(f"only {len(users)} users have {history_length} events; {count} are needed")

    def recall(self, user: UserRead) -> object:
        """User vector and search of the index, without what the user has seen."""
        channels = [(common_pb2.CHANNEL_TWO_TOWER, self._candidates)]
        return self._engine.retrieve(user.profile, user.history, channels, ItemFilter(user.seen), user_id=user.user_id)

    def score(self, user: UserRead) -> object:
        """The ranker's opinion of as many candidates."""
        return self._scorer.score([RankQuery(user.profile, user.history, self._items, user.user_id)])

    async def hops(self, user: UserRead, k: int) -> list[Hop]:
        """The four RPCs of a Recommend with the messages that travel in them, the answers taken from the stack."""
        settings = self._settings
        retrieve = self._retrieve_request(user)
        rank = ranking_pb2.RankRequest(
            user_id=user.user_id,
            profile=user.reply.profile,
            history=user.reply.history,
            item_ids=self._items.tolist(),
            budget_ms=1000,
        )
        recommend = gateway_pb2.RecommendRequest(user_id=user.user_id, k=k)
        get_user = features_pb2.GetUserRequest(user_id=user.user_id, history_length=len(user.history))
        async with (
            aio_channel(settings.gateway.address) as gateway,
            aio_channel(settings.retrieval.address) as retrieval,
            aio_channel(settings.ranking.address) as ranking,
        ):
            recommended = await gateway_pb2_grpc.RecommenderServiceStub(gateway).Recommend(recommend)
            retrieved = await retrieval_pb2_grpc.RetrievalServiceStub(retrieval).Retrieve(retrieve)
            ranked = await ranking_pb2_grpc.RankingServiceStub(ranking).Rank(rank)
        return [
            Hop("gateway", "/recstack.api.gateway.v1.RecommenderService/Recommend", recommend, recommended),
            Hop("features", "/recstack.api.features.v1.FeatureStoreService/GetUser", get_user, user.reply),
            Hop("retrieval", "/recstack.api.retrieval.v1.RetrievalService/Retrieve", retrieve, retrieved),
            Hop("ranking", "/recstack.api.ranking.v1.RankingService/Rank", rank, ranked),
        ]

    def redis_round_trip(self, users: list[UserRead]) -> dict[str, float]:
        """CPU milliseconds of reading one user's two keys over a bare socket: our end, and that of Redis."""
        address = urlsplit(self._settings.redis_url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(hiredis.pack_command((b"INFO", b"server")))
            information = _reply(connection)
            assert isinstance(information, bytes)
            pid = int(information.partition(b"process_id:")[2].split()[0])
            redis = psutil.Process(pid)
            theirs, ours = sum(redis.cpu_times()[:2]), process_time()
            for number in range(ROUND_TRIPS):
                user_id = users[number % len(users)].user_id
                command = (b"MGET", keys.profile(user_id), keys.history(user_id))
                connection.sendall(hiredis.pack_command(command))
                _reply(connection)
            ours = process_time() - ours
            theirs = sum(redis.cpu_times()[:2]) - theirs
        return {
            "redis round trip: client end": ours / ROUND_TRIPS * 1e3,
            "redis round trip: redis": theirs / ROUND_TRIPS * 1e3,
        }

    def _retrieve_request(self, user: UserRead) -> retrieval_pb2.RetrieveRequest:
        gateway = self._settings.gateway
        sizes = {
            common_pb2.CHANNEL_TWO_TOWER: gateway.two_tower_k,
            common_pb2.CHANNEL_ITEM_TO_ITEM: gateway.item_to_item_k,
            common_pb2.CHANNEL_POPULAR: gateway.popular_k,
            common_pb2.CHANNEL_FRESH: gateway.fresh_k,
            common_pb2.CHANNEL_COLD_START: gateway.cold_start_k,
        }
        return retrieval_pb2.RetrieveRequest(
            user_id=user.user_id,
            profile=user.reply.profile,
            history=user.reply.history,
            channels=[retrieval_pb2.ChannelRequest(channel=channel, k=k) for channel, k in sizes.items()],
            filter=retrieval_pb2.ItemFilter(exclude_item_ids=user.seen.tolist()),
        )


def _reply(connection: socket.socket) -> object:
    reader = hiredis.Reader()
    while (reply := reader.gets()) is False:
        reader.feed(connection.recv(1 << 16))
    return reply
