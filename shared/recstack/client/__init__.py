"""The typed client of the gateway, blocking and asyncio."""

from recstack.client.aio import AsyncClient
from recstack.client.sync import Client
from recstack.rpc.credentials import Tls

__all__ = ["AsyncClient", "Client", "Tls"]
