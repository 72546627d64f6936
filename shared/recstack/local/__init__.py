"""The whole stack on one machine: what `recstack up`, the demo, tests and benchmarks start."""

from recstack.local.cleanup import down
from recstack.local.reporter import Reporter
from recstack.local.stack import LocalStack
from recstack.local.state import StackState, StateFile
from recstack.local.supervisor import run_until_stopped, start_detached, stop_on_signals, watch

__all__ = [
    "LocalStack",
    "Reporter",
    "StackState",
    "StateFile",
    "down",
    "run_until_stopped",
    "start_detached",
    "stop_on_signals",
    "watch",
]
