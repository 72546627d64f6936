"""DIEN on one GPU: candidates/s of 32 requests scored together, and the time of one request alone.

2,000 candidates a request against 100 history steps, all of them attended by the evolution; random weights of the
served widths, float32. Three sides take turns, each from numpy to numpy, transfers included: plain torch; the same
through torch.compile; and what serves, Triton kernels replayed as a CUDA graph. Needs a CUDA device and Triton; without
one it says so and measures nothing. `python -m tests.bench.gpu_scoring`
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from recstack.features.batch import NUM_RATING_IDS
from recstack.features.catalogue import NUM_YEAR_BUCKETS, ItemTable
from recstack.features.schema import GENRES, MAX_GENRES, PROFILE_SIZES
from recstack.models import kernels
from recstack.models.blend import Blend, Member, Users
from recstack.models.dien import DIEN, DIENConfig
from services.ranking.gpu import GraphedBlend
from services.ranking.gpu_buckets import Bucket, Buckets, Layout
from tests.bench.harness import Comparison, Report, Sample, interleave, main

GOAL_CANDIDATES, GOAL_MS = 30e6, 1.0
Predictions = list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is scored: requests at once, candidates of each, history steps, and how often each side repeats it."""

    users: int
    candidates: int
    steps: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Requests:
    """Users and their candidates, as numbers of items."""

    users: Users
    candidates: Sequence[NDArray[np.int64]]


def random_blend(items: int, steps: int, device: str, dtype: torch.dtype = torch.float32) -> Blend:
    """A DIEN that attends to `steps` steps of histories of as many, with random weights, always the same."""
    torch.manual_seed(0)
    model = DIEN(DIENConfig(num_items=items, max_history=steps, evolution_steps=steps)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    genres = torch.randint(0, len(GENRES) + 1, (items + 1, MAX_GENRES))
    with torch.inference_mode():
        vectors_IE = model.encode_items(ItemTable(torch.randint(0, NUM_YEAR_BUCKETS, (items + 1,)), genres))
    return Blend({"dien": Member(model.to(device, dtype), vectors_IE.to(device, dtype), 1.0)})


def random_requests(shape: Shape, items: int) -> Requests:
    """Users with full histories."""
    rng = np.random.default_rng(0)
    profiles = np.stack([rng.integers(0, size, shape.users) for size in PROFILE_SIZES.values()], axis=1)
    histories = list(rng.integers(1, items + 1, (shape.users, shape.steps)))
    ratings = list(rng.integers(1, NUM_RATING_IDS, (shape.users, shape.steps)).astype(np.float32))
    users = Users(profiles, histories, ratings, np.zeros(shape.users, np.int64))
    return Requests(users, list(rng.integers(1, items + 1, (shape.users, shape.candidates))))


@contextmanager
def plain_torch() -> Iterator[None]:
    """No Triton kernels of ours meanwhile."""
    with mock.patch.object(kernels, "triton_kernel", return_value=None):
        yield


def eager(blend: Blend, requests: Requests) -> Predictions:
    """Plain torch, kernel by kernel."""
    with plain_torch():
        return blend.predict(requests.users, requests.candidates)


def compiled(blend: Blend, shape: Shape) -> Callable[[Requests], Predictions]:
    """Plain torch through torch.compile, whose kernels it replays as CUDA graphs too ("reduce-overhead")."""
    layout = Layout(Bucket(shape.users, shape.candidates, shape.steps), blend.history_lengths)
    row = np.zeros(layout.size, np.int64)
    with plain_torch():
        predict = torch.compile(blend.predict_tensors, mode="reduce-overhead", dynamic=False)

    def score(requests: Requests) -> Predictions:
        with plain_torch(), torch.inference_mode():
            layout.pack(row, requests.users, requests.candidates)
            inputs = torch.from_numpy(row).to(blend.device)
            return list(predict(*layout.unpack(inputs)).cpu().numpy())

    return score


def compare(
    blend: Blend, graphed: GraphedBlend, requests: Requests, shape: Shape, compile_too: bool
) -> tuple[dict[str, Sample], float]:
    """Seconds of each side in turn, and the largest difference of what serves from float64 on the CPU."""
    sides: dict[str, Callable[[], object]] = {
        "eager": lambda: eager(blend, requests),
        "served": lambda: graphed.predict(requests.users, requests.candidates),
    }
    if compile_too:
        compile_side = compiled(blend, shape)
        sides["compiled"] = lambda: compile_side(requests)
    samples = interleave(sides, shape.rounds)
    exact = random_blend(blend.num_items, blend.max_history, "cpu", torch.float64).predict(
        requests.users, requests.candidates
    )
    served = graphed.predict(requests.users, requests.candidates)
    return samples, max(float(np.abs(one - other).max()) for one, other in zip(served, exact, strict=True))


def run(console: Console, short: bool) -> Report:
    """Both batch sizes on the CUDA device."""
    if not torch.cuda.is_available():
        raise SystemExit("gpu_scoring: torch finds no CUDA device here, so there is nothing to measure")
    items, steps, candidates = 4000, 100, 2000
    report = Report("DIEN on one GPU, 2,000 candidates × 100 steps", details={"device": torch.cuda.get_device_name()})
    for users in (32, 1):
        shape = Shape(users=users, candidates=candidates, steps=steps, rounds=20 if short else 200)
        blend = random_blend(items, steps, "cuda")
        graphed = GraphedBlend(blend, Buckets(users=(users,), candidates=(candidates,), history=(steps,)))
        requests = random_requests(shape, items)
        samples, difference = compare(blend, graphed, requests, shape, compile_too=not short)
        report.comparisons += comparisons(shape, samples)
        report.details[f"requests {users}"] = {
            "milliseconds": {name: sample.milliseconds for name, sample in samples.items()},
            "largest difference from float64": difference,
        }
        console.print(f"{users} at once: largest difference from float64 {difference:.1e}", highlight=False)
    return report


def comparisons(shape: Shape, samples: dict[str, Sample]) -> list[Comparison]:
    """What serves beside the other sides and beside the goal: rates for a batch, the median for one request."""
    others = [name for name in samples if name != "served"]
    if shape.users == 1:
        what, unit = "one request, p50", "ms"
        served = samples["served"].milliseconds
        lines = [Comparison.faster(what, unit, served, name, samples[name].milliseconds) for name in others]
        return [*lines, Comparison.over(what, unit, served, "goal", GOAL_MS, goal=1.0)]
    what, unit = f"{shape.users} requests at once", "candidates/s"
    rates = {name: shape.users * shape.candidates / sample.median for name, sample in samples.items()}
    lines = [Comparison.more(what, unit, rates["served"], name, rates[name]) for name in others]
    return [*lines, Comparison.more(what, unit, rates["served"], "goal", GOAL_CANDIDATES, goal=1.0)]


if __name__ == "__main__":
    main(run, "tests.bench.gpu_scoring", __doc__)
