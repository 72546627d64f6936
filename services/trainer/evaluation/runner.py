"""Measures entrants: what is finished is reused, what others build on comes first, several processes if wanted."""

import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console

from recstack.data.dataset import Dataset
from recstack.errors import InvalidRequestError
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.entrant import Entrant
from services.trainer.evaluation.protocol import Protocol

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement to be made."""

    protocol: str
    entrant: Entrant
    seed: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.entrant.name}" + (f", seed {self.seed}" if self.entrant.seeded else "")


def plan(protocols: Sequence[Protocol], names: Sequence[str], seeds: int, known: Iterable[Protocol]) -> list[Job]:
    """The jobs of `protocols`, those that others need first.

    names: entrants to measure; all where there are none. known: all protocols, where entrants are looked up that
    others need.
    Raises InvalidRequestError for a name that none of the protocols has.
    """
    registry = {(each.id, entrant.name): entrant for each in (*known, *protocols) for entrant in each.entrants()}
    wanted = [
        (each.id, entrant.name)
        for each in protocols
        for entrant in each.entrants()
        if not names or entrant.name in names
    ]
    unknown = set(names) - {name for _, name in wanted}
    if unknown:
        there = ", ".join(sorted({entrant.name for each in protocols for entrant in each.entrants()}))
        raise InvalidRequestError(f"no entrant {', '.join(sorted(unknown))} in these protocols; there are {there}")
    jobs: dict[tuple[str, str, int], Job] = {}

    def add(protocol: str, name: str, seed: int) -> None:
        entrant = registry[protocol, name]
        for needed in entrant.needs:
            add(*needed, seed if registry[needed].seeded else 0)
        jobs.setdefault((protocol, name, seed), Job(protocol, entrant, seed))

    for protocol, name in wanted:
        for seed in range(seeds if registry[protocol, name].seeded else 1):
            add(protocol, name, seed)
    return list(jobs.values())


def run(bench: Bench, jobs: Sequence[Job], processes: int, console: Console) -> int:
    """Measure every job; returns how many failed. The others go on, and keep their outcomes."""
    failed = 0
    for wave in _waves(jobs):
        done = _alone(bench, wave) if processes == 1 else _together(bench, wave, processes)
        for job, error in done:
            console.print(f"{job}: {error or 'done'}", style="red" if error else "", highlight=False, soft_wrap=True)
            failed += bool(error)
    return failed


def _waves(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """The jobs in groups; nothing in a group needs anything of the same or of a later one."""
    left = list(jobs)
    while left:
        open_pairs = {(job.protocol, job.entrant.name) for job in left}
        wave = [job for job in left if open_pairs.isdisjoint(job.entrant.needs)]
        yield wave
        left = [job for job in left if job not in wave]


def _alone(bench: Bench, jobs: Sequence[Job]) -> Iterator[tuple[Job, str]]:
    for job in jobs:
        yield job, _measure(bench, job)


def _together(bench: Bench, jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, str]]:
    # Children inherit this before they import numpy; threads of two processes would only fight over the cores.
    os.environ.update(ONE_THREAD)
    arguments = (bench.dataset, bench.folder, bench.sequences, bench.device)
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_process, arguments) as pool:
        # What is trained takes longest, so it begins first.
        longest_first = sorted(jobs, key=lambda job: not job.entrant.seeded)
        futures = {pool.submit(_measure_in_process, job): job for job in longest_first}
        for future in as_completed(futures):
            yield futures[future], future.result()


_bench: Bench


def _start_process(dataset: Dataset, folder: Path, sequences: Dataset, device: str) -> None:
    global _bench
    torch.set_num_threads(1)
    _bench = Bench(dataset, folder, sequences, device, Console(quiet=True))


def _measure_in_process(job: Job) -> str:
    return _measure(_bench, job)


def _measure(bench: Bench, job: Job) -> str:
    """The error, or nothing. An entrant that fails must not cost the others their hours."""
    try:
        bench.measure(job.protocol, job.entrant, job.seed)
    except Exception as error:
        (bench.folder / "failures.log").open("a").write(f"{job}\n{traceback.format_exc()}\n")
        return f"{type(error).__name__}: {error}"
    return ""
