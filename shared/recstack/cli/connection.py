"""How a command finds its settings and the gateway."""

from typing import TYPE_CHECKING, Annotated

import typer

from recstack import Client
from recstack.rpc.credentials import tls_to

if TYPE_CHECKING:
    from recstack.config import Settings

GatewayOption = Annotated[
    str,
    typer.Option("--gateway", metavar="HOST:PORT", help="The gateway to ask; the running local stack's by default."),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds to wait for the answer.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def load_settings() -> "Settings":
    """The settings; loaded here because building them takes a third of the time of `recstack --help`."""
    from recstack import config

    return config.load_settings()


def connect(gateway: str, timeout: float) -> Client:
    """A client of the given gateway, else of the local stack that is up, else of the configured address."""
    settings = load_settings()
    address = gateway or service_address("gateway", settings.gateway.address)
    return Client(address, timeout=timeout, tls=tls_to("gateway", settings))


def service_address(service: str, configured: str) -> str:
    """Address of a service of the local stack that is up, else `configured`."""
    from recstack.local.state import StateFile

    state = StateFile(load_settings().home).running()
    return state.address(service) if state else configured
