"""`python -m services.gateway`."""

from recstack.rpc.main import service_main
from services.gateway.app import serve

service_main(serve, lambda settings: settings.gateway)
