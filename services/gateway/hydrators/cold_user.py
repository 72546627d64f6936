"""Query hydrator that knows nobody: what stands in for the feature store when it does not answer."""

from dataclasses import replace

from services.gateway.pipeline.query import Query, User
from services.gateway.pipeline.trace import Trace


class ColdUser:
    """Makes every user a new one."""

    def enable(self, query: Query) -> bool:
        """Always."""
        return True

    async def run(self, query: Query, trace: Trace) -> Query:
        """The query with a user of whom nothing is known."""
        return replace(query, user=User())
