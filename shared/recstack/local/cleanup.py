"""Stopping a stack from outside: politely through its supervisor, or piece by piece when that was killed."""

import shutil

from recstack.config import Settings
from recstack.errors import StackError
from recstack.local.processes import created_at, end, family, marked
from recstack.local.state import StateFile

_STOP_SECONDS = 60.0


def down(settings: Settings) -> bool:
    """Stop the local stack of `settings.home` and wait until it is gone; False when none was running.

    Raises StackError when the stack is still starting.
    """
    file = StateFile(settings.home)
    state = file.read()
    if not file.is_locked():
        clean_up(file)
        return state is not None
    if state is None:
        raise StackError("the stack is just starting; try again in a second")
    end(family([state.supervisor_pid])[:1], _STOP_SECONDS)
    clean_up(file)
    return True


def clean_up(file: StateFile) -> None:
    """End the processes and delete the scratch folder that a killed supervisor left, if there are any."""
    state = file.read()
    if state is None:
        return
    recorded = [process.pid for process in state.processes if created_at(process.pid) == process.created_at]
    end(family(recorded), 15.0)
    end(marked(state.mark), 3.0)
    shutil.rmtree(state.scratch, ignore_errors=True)
    file.delete()
