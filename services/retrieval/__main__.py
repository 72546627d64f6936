"""`python -m services.retrieval`."""

from recstack.rpc.main import service_main
from services.retrieval.app import serve

if __name__ == "__main__":
    service_main(serve)
