"""`python -m services.ranking`"""

from recstack.rpc.main import service_main
from services.ranking.app import serve

service_main(serve)
