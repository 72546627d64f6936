"""Kinds of item index from 10,000 to a million items, and the retrieval service against a direct call of faiss.

Vectors are those of `tests.bench.item_vectors`: clustered as a trained tower's are, 64 wide. Four parts:

- *Kinds*: each at the least effort that finds 98 % of the exact 100 nearest, on one thread, one query at a time, the
  kinds in turn; "as served" is RecStack's own lists with as many of them as it chose when it built the index (for 98 %
  of the 350 nearest). Building is counted in CPU seconds. Bytes are those of the saved index.
- *Rule*: what `IndexRule` picks at each size.
- *Filters*: the served index with all but a share of the items forbidden, at random or by whole clusters.
- *Service*: Retrieve of the two-tower channel through gRPC, from a process of its own, against `index.search` of the
  very index that it holds, with its user vectors. Beside it, what no service could leave out: the same messages through
  an RPC that does nothing, and the user tower.

Times are wall milliseconds unless they say CPU. A service that is a process away costs an RPC more than a call; the
faster the index, the larger that looks. So the service is also put over its floor (RPC + user tower + search).
"""

import faiss
import torch
from rich.console import Console

from tests.bench.harness import Report, main
from tests.bench.retrieval_filters import filter_table
from tests.bench.retrieval_kinds import kind_table
from tests.bench.retrieval_service import service_comparisons
from tests.bench.world import worlds_folder

DIMENSIONS = 64
SIZES, SHORT_SIZES = (10_000, 50_000, 200_000, 1_000_000), (10_000, 20_000)
ROUNDS, SHORT_ROUNDS = 300, 20


def run(console: Console, short: bool) -> Report:
    """All parts; short: 20,000 items at most."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    rounds, sizes = (SHORT_ROUNDS, SHORT_SIZES) if short else (ROUNDS, SIZES)
    folder = worlds_folder() / "indexes"
    report = Report("Retrieval at scale", details={"dimensions": DIMENSIONS, "kinds": {}})
    for items in sizes:
        report.details["kinds"][items] = kind_table(console, items, DIMENSIONS, rounds, folder)
    report.details["filters"] = filter_table(console, sizes[-1], DIMENSIONS, rounds // 10, folder)
    comparisons, details = service_comparisons(console, sizes[-1], DIMENSIONS, rounds, folder)
    report.comparisons += comparisons
    report.details["service"] = details
    return report


if __name__ == "__main__":
    main(run, "tests.bench.retrieval_scale", __doc__)
