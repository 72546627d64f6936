"""The memory benchmark runs with no data at hand, and reads what a process really takes."""

import io
import mmap
import os
import subprocess
import sys

import pytest
from rich.console import Console

from tests.bench.memory import Memory, by_name, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MIB = 1024 * 1024


def test_memory_of_a_process_grows_with_what_it_holds() -> None:
    before = Memory.of(os.getpid())
    # Pages of the kernel's: what an allocator keeps of freed memory depends on all tests before.
    with mmap.mmap(-1, 64 * MIB) as held:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        after = Memory.of(os.getpid())
    for grown in (after.rss - before.rss, after.pss - before.pss, after.private - before.private):
        assert 60 < grown < 80
    assert after.private <= after.pss <= after.rss


def test_shared_pages_count_once_in_proportional_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        both = by_name({os.getpid(): "one", child.pid: "other"})
        child.communicate()
    assert both["other"].pss < both["other"].rss


def test_processes_of_one_name_are_added_and_those_that_ended_left_out() -> None:
    own = os.getpid()
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        child.wait()
    assert set(by_name({own: "one", child.pid: "gone"})) == {"one"}


def test_short_run_reports_every_process() -> None:
    report = run(Console(file=io.StringIO(), width=140), short=True)
    (line,) = report.comparisons
    assert line.what == "plain, sum of PSS"
    processes = report.details["plain"]
    assert set(processes) == {"redis", "feature-store", "retrieval", "ranking", "gateway", "total"}
    assert processes["total"]["pss_mib"] == pytest.approx(line.ours, abs=0.1)
    parts = [one["pss_mib"] for name, one in processes.items() if name != "total"]
    assert sum(parts) == pytest.approx(line.ours, abs=0.5)
    assert all(part > 1 for part in parts)
