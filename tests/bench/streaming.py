"""Train SimpleCF on events that are streamed from Parquet, and print the memory that it takes as rows go by.

    python -m tests.bench.streaming [--rows 20000000] [--users 200000] [--items 50000] [--out FILE.json]

The events are invented, written to a temporary folder as row groups and removed at the end. Memory is what the
process holds (resident set); flat means that it does not grow with the rows that were read.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from services.trainer.evaluation.bench import machine
from services.trainer.fit import ALONE, Batches, FitConfig, Worker
from services.trainer.tasks.parquet_rows import ParquetRows
from services.trainer.tasks.rows import RowBatch
from services.trainer.tasks.simple_cf import SimpleCFPreset
from services.trainer.tasks.simple_cf_streamed import train_simple_cf_streamed

ROWS_PER_GROUP = 200_000
BATCH_ROWS = 65_536
REPORTS = 10
MIB = 2**20
DESCRIPTION = "name: invented\nevents: {path: events, columns: {rating: rating}}\n"


@dataclass(frozen=True, slots=True)
class Moment:
    """Rows read so far, seconds since the start, and resident memory in MiB."""

    rows: int
    seconds: float
    memory_mib: float


class WatchedRows(ParquetRows):
    """Rows that note the process's memory as they go by."""

    moments: list[Moment]

    def epoch(self, seed: int, epoch: int, worker: Worker = ALONE) -> Batches[RowBatch]:
        """The epoch, watched."""
        return _Watched(super().epoch(seed, epoch, worker), self)


@dataclass(frozen=True, slots=True)
class _Watched:
    batches: Batches[RowBatch]
    source: WatchedRows

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[RowBatch]:
        started, rows, process = perf_counter(), 0, psutil.Process(os.getpid())
        every = self.source.num_rows // REPORTS
        for batch in self.batches:
            if rows // every != (rows + len(batch)) // every or rows == 0:
                memory = process.memory_info().rss / MIB
                self.source.moments.append(Moment(rows + len(batch), perf_counter() - started, memory))
            rows += len(batch)
            yield batch


def write_events(folder: Path, rows: int, users: int, items: int) -> int:
    """Write invented events, ratings that tastes decide, a row group at a time; returns the bytes on disk."""
    random = np.random.default_rng(0)
    taste_UF, trait_IF = (random.standard_normal((count, 4)).astype(np.float32) for count in (users, items))
    schema = pa.schema({"user_id": pa.int64(), "item_id": pa.int64(), "rating": pa.float32()})
    folder.mkdir()
    path = folder / "part-0.parquet"
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, ROWS_PER_GROUP):
            count = min(ROWS_PER_GROUP, rows - start)
            user = random.integers(0, users, count)
            item = np.minimum((random.pareto(1.2, count) * items / 20).astype(np.int64), items - 1)
            rating = np.clip(np.rint(3.5 + (taste_UF[user] * trait_IF[item]).sum(1) / 2), 1, 5).astype(np.float32)
            columns = {"user_id": user + 1, "item_id": item + 1, "rating": rating}
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROWS_PER_GROUP)
    return path.stat().st_size


def run(rows: int, users: int, items: int, folder: Path, console: Console) -> dict[str, object]:
    """Write, train one epoch, and say what memory was held when."""
    size = write_events(folder / "events", rows, users, items)
    (folder / "dataset.yaml").write_text(DESCRIPTION)
    console.print(f"{rows:,} events, {size / MIB:,.0f} MiB of Parquet, {rows * 20 / MIB:,.0f} MiB as columns in memory")
    source = WatchedRows(folder / "dataset.yaml", BATCH_ROWS)
    source.moments = []
    fit = FitConfig(epochs=1, learning_rate=1e-2)
    preset = SimpleCFPreset(fit=fit, batch_rows=BATCH_ROWS, factors=16, biases=True)
    _, result = train_simple_cf_streamed(source, replace(preset), folder / "run", console=Console(quiet=True))
    return {
        "machine": machine(),
        "rows": source.num_rows,
        "parquet_mib": size / MIB,
        "rmse": result.metrics["rmse"],
        "samples_per_second": result.samples_per_second,
        "moments": [
            {"rows": moment.rows, "seconds": moment.seconds, "memory_mib": moment.memory_mib}
            for moment in source.moments
        ],
    }


def show(figures: dict[str, object], console: Console) -> None:
    """Print the moments as a table."""
    table = Table(box=None, title="memory while rows stream", title_justify="left")
    for name in ("rows", "seconds", "resident MiB"):
        table.add_column(name, justify="right")
    for moment in figures["moments"]:  # type: ignore[attr-defined]
        table.add_row(f"{moment['rows']:,}", f"{moment['seconds']:.0f}", f"{moment['memory_mib']:,.0f}")
    console.print(table)
    console.print(f"{figures['samples_per_second']:,.0f} rows/s, RMSE {figures['rmse']:.4f}, on {figures['machine']}")


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description="Memory of training on streamed events.")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="recstack-stream-") as name:
        figures = run(arguments.rows, arguments.users, arguments.items, Path(name), console)
    show(figures, console)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
