"""Runs one component: gives it a part of the deadline, times it, and applies its failure policy."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from recstack.errors import DeadlineError, RecStackError, UnavailableError
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.stages import Component, Fallback, Optional, Step, component_name
from services.gateway.pipeline.trace import Trace

log = logging.getLogger("recstack.gateway")

ComponentT = TypeVar("ComponentT", bound=Component)
ResultT = TypeVar("ResultT")


async def run_step(
    stage: str,
    step: Step[ComponentT],
    call: Callable[[ComponentT, Query], Awaitable[ResultT]],
    query: Query,
    trace: Trace,
    reserve: float,
) -> ResultT | None:
    """Result of `call(component, query with the component's own deadline)`, or of its fallback.

    None when the component is not enabled, or is optional and failed. A result that breaks the stage's contract
    (`call` raises ValueError) counts as a failure. Raises the component's error when it is required, and
    UnavailableError that names everything that failed when the fallback failed as well.
    """
    component, failure = step.component, step.failure
    if not component.enable(query):
        return None
    name = component_name(component)
    own = query.due(query.deadline.part(step.share, reserve))
    budget = own.deadline.remaining()
    try:
        with trace.traced(f"{stage}/{name}"):
            async with asyncio.timeout(budget):
                return await call(component, own)
    except Exception as error:
        reason = _reason(name, error, budget)
        if isinstance(failure, Optional):
            trace.degrade(name, reason, failure.consequence)
            return None
        if not isinstance(failure, Fallback):
            if isinstance(error, TimeoutError | DeadlineError):
                raise DeadlineError(f"{name}: {reason}") from error
            raise
        return await _fall_back(stage, name, reason, failure, call, query, trace)


async def _fall_back(
    stage: str,
    failed: str,
    reason: str,
    failure: Fallback[ComponentT],
    call: Callable[[ComponentT, Query], Awaitable[ResultT]],
    query: Query,
    trace: Trace,
) -> ResultT:
    name = component_name(failure.component)
    try:
        with trace.traced(f"{stage}/{name}"):
            result = await call(failure.component, query)
    except RecStackError as error:
        causes = [*trace.degraded, f"{failed}: {reason}", f"{name}: {error}"]
        raise UnavailableError("no answer is possible now, try again later: " + " | ".join(causes)) from error
    trace.degrade(failed, reason, failure.consequence)
    return result


def _reason(name: str, error: Exception, budget: float) -> str:
    """Why a component failed, in words that may leave the process."""
    if isinstance(error, TimeoutError | DeadlineError):
        return f"deadline exceeded after {budget * 1000:.0f} ms"
    if isinstance(error, RecStackError):
        return str(error)
    log.error("unexpected error in %s", name, exc_info=error)
    return "internal error, see the gateway's log"
