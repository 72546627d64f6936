"""Training on workers, in a process of its own: Ray settles how it authenticates when it is first imported, and other
tests of this process have imported it."""

import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).with_name("distributed_cases.py")


def test_training_on_workers() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
