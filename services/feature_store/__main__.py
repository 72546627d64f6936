"""`python -m services.feature_store`."""

from recstack.rpc.main import service_main
from services.feature_store.app import serve

service_main(serve, lambda settings: settings.feature_store)
