"""Client kit: channels with keep-alive, round robin, and a retry budget."""

import json
from typing import Any

import grpc
import grpc.aio

from recstack.rpc.credentials import Tls, channel_credentials, load_pem
from recstack.rpc.renewed_channel import RenewedChannel

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

# Retries live in gRPC itself. UNAVAILABLE: nothing was done. CANCELLED: a server that ends gives it to the calls that
# it had received and not yet taken up (grpc#41785); what a caller cancels is not tried again. All our calls may be
# repeated. retryThrottling is the budget: 200 failures in a row and no call is tried again before others succeed, so
# that retries cannot multiply an outage. It must hold all calls in flight when the one known address goes away.
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.02s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 400, "tokenRatio": 0.2},
}

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A pod that is replaced comes back under another address: ask for it sooner than gRPC's 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
]


def aio_channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """An asyncio channel to `host:port` (or any gRPC target). Reuse it: one per address and process.

    With `tls` it goes on with renewed certificates. Raises StackError for files that cannot be used.
    """

    def make(credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(address, options=OPTIONS)
        return grpc.aio.secure_channel(address, credentials, options=OPTIONS)

    return RenewedChannel(tls, make)


def sync_channel(address: str, tls: Tls | None = None) -> grpc.Channel:
    """A blocking channel to `host:port` (or any gRPC target).

    `tls` is read once. Raises StackError for files that cannot be used.
    """
    if tls is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return grpc.secure_channel(address, channel_credentials(load_pem(tls)), options=OPTIONS)
