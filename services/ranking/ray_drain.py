"""`python -m services.ranking.ray_drain SECONDS`: HAProxy sends its callers elsewhere and finishes the calls it has.

What a Ray worker's pod runs before it ends (preStop): Ray ends replicas before the proxy in front of them, which then
answers with errors that no caller tries again. Imports no Ray.
"""

import os
import signal
import sys
from pathlib import Path

import psutil

CONFIG_FILE = "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"
DEFAULT_CONFIG_FILE = "/tmp/haproxy-serve/haproxy.cfg"
"""Serve's variable and its default. Serve puts a folder for each node between the folder and the name."""


def drain(config_folder: Path, seconds: float) -> list[psutil.Process]:
    """Ask every HAProxy with a configuration in `config_folder` to stop softly; returns those that outlast `seconds`.

    It closes its port, tells connections to go away (GOAWAY) and ends with the last call.
    """
    proxies = [process for process in psutil.process_iter() if _belongs_to(process, config_folder)]
    for proxy in proxies:
        proxy.send_signal(signal.SIGUSR1)
    return psutil.wait_procs(proxies, timeout=seconds)[1]


def _belongs_to(process: psutil.Process, config_folder: Path) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:  # it has ended, or is somebody else's
        return False
    is_haproxy = bool(command) and Path(command[0]).name == "haproxy"
    return is_haproxy and any(Path(argument).is_relative_to(config_folder) for argument in command[1:])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m services.ranking.ray_drain SECONDS")
    left = drain(Path(os.environ.get(CONFIG_FILE, DEFAULT_CONFIG_FILE)).parent, float(sys.argv[1]))
    sys.exit(f"still serving after {sys.argv[1]} s: {left}" if left else 0)
