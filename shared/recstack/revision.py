"""From which commit something was made: written into bundles, run folders and results."""

import subprocess
from pathlib import Path


def git_revision() -> str:
    """Revision of the checkout that RecStack runs from, `-dirty` when changed, or "unknown"."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
