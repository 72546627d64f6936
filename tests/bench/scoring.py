"""Scoring on one CPU thread: candidates/s against deepctr-torch and FuxiCTR, and against the machine's GEMM rate.

What is compared. One request is 500 candidates of one user. Ours encodes the user and scores the candidates, from
prepared index tensors to logits; item-side work was done when the model was laid out for serving (`Ranker.served`). A
peer's forward takes 500 prepared rows, each with the user's features and history repeated, as it does when it predicts.
All run in float32, in eval and inference mode, on one thread, in turn, and CPU seconds are counted.

Same shapes. DIEN: history 50, item embedding and hidden 32, attention MLP of 16 units, AUGRU over all 50 steps, four
profile fields of width 8, final MLP 64-32. Ours has on top: the ratings, the item's bias, and three memories of the
history. DCN: fields of width 16; 2017: vector crosses, 4 layers, three profile fields and genres, deep 64-32 with batch
norm; V2: matrix crosses, 2 layers, four profile fields, genres, year and item id, deep 128-64. deepctr-torch's negative
sampling is off. FuxiCTR's models are put together from its layers, see `scoring_peers`. Weights are random: they do
not change the work.

Rows that start with "served" are the sizes that the trainer's presets serve, and have no peer.

How to read it. First come times of a request against the faster peer's (goal: at least 5 times less), one request at a
time and 16 at once: for a peer 8,000 rows in one forward, for ours what a server makes of them, padding and all. Sides
take turns, so each finds the caches as the others left them; that costs models of many small steps most. Then our
arithmetic per second, the multiply-adds of `scoring_work` over the time, against the rate of a 1024 x 1024 GEMM in the
same run (goal: at least half). What is missing to it is activations, memory, and calls too small to fill a core: for a
single user the extraction is one row, stepped 50 times. The last lines hold the cost of a request among several against
its cost alone.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from time import process_time
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from recstack.features.schema import PROFILE_SIZES
from recstack.models.blend import Blend
from recstack.models.dcn import DCN, DCNConfig
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.ranker import Ranker
from services.trainer.trainers import find_trainer
from tests.bench import scoring_peers as peers
from tests.bench.harness import Comparison, Report, Sample, interleave, main
from tests.bench.scoring_requests import (
    CANDIDATES,
    FIELD_SIZES,
    HISTORY,
    ITEMS,
    Requests,
    alike,
    blend_of,
    mixed,
    random_items,
    random_users,
    served_form,
)
from tests.bench.scoring_work import Work, dcn_work, dien_work

GEMM_SIZE = 1024
TIMES_FASTER, SHARE_OF_GEMM = 5.0, 0.5
BATCHES = (2, 4, 8, 16)
DIEN_HIDDEN, DIEN_ATTENTION = (64, 32), 16
DCN_2017_PROFILE = ("gender", "age", "occupation")


@dataclass(frozen=True, slots=True)
class Case:
    """A model of ours, its arithmetic for one request, and peers of the same shape with the widths of their fields."""

    name: str
    model: Ranker
    work: Work
    peers: dict[str, nn.Module] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)


def run(console: Console, short: bool) -> Report:
    """Measure all cases, then batches of the served DIEN and DCN."""
    torch.set_num_threads(1)
    rounds, batch_rounds, at_once = (5, 2, BATCHES[0]) if short else (60, 10, BATCHES[-1])
    report = Report("Scoring 500 candidates on one thread")
    shares: list[Comparison] = []
    for case in cases():
        sides = {"ours": request(case.model), "gemm": gemm(), **forwards(case, 1)}
        samples = interleave(sides, rounds, clock=process_time)
        rate = 2 * GEMM_SIZE**3 / samples["gemm"].median / 1e9
        ours, work = samples["ours"], 2 * sum(case.work.values()) / 1e9
        report.comparisons += against_peers(case, 1, samples)
        if case.peers:
            sides = {"ours": partial(blend_of(case.model).predict, *alike(at_once)), **forwards(case, at_once)}
            batch_samples = interleave(sides, batch_rounds, warm_up=1, clock=process_time)
            report.comparisons += against_peers(case, at_once, batch_samples)
        shares.append(
            Comparison.more(f"{case.name}: arithmetic", "GFLOP/s", work / ours.median, "GEMM", rate, SHARE_OF_GEMM)
        )
        report.details[case.name] = {
            "ms": {name: sample.milliseconds for name, sample in samples.items() if name != "gemm"},
            "candidates_per_second": CANDIDATES / ours.median,
            "multiply_adds": case.work,
            "gemm_gflops": rate,
        }
        console.print(work_table(case))
    report.comparisons += shares + together(3 if short else 15)
    return report


def cases() -> list[Case]:
    """The shapes of the module's description."""
    torch.manual_seed(0)
    return [dien_case(), served_dien_case(), dcn_case("DCN 2017", "vector"), dcn_case("DCN V2", "matrix"), *dcn_alone()]


def dien_case() -> Case:
    """Evolution over all steps, as in the peers."""
    config = DIENConfig(
        num_items=ITEMS, sequences=("movie",), movie_dim=32, attention_hidden=DIEN_ATTENTION, evolution_steps=HISTORY,
        mlp=DIEN_HIDDEN, max_history=HISTORY,
    )  # fmt: skip
    widths = dict.fromkeys(PROFILE_SIZES, 8) | {"item": 32, "hist_item": 32}
    rows = peer_rows(widths, 1)
    models = {
        "deepctr-torch": peers.deepctr_dien(rows, DIEN_HIDDEN, (DIEN_ATTENTION,)),
        "FuxiCTR": peers.FuxiDIEN(rows, DIEN_HIDDEN, (DIEN_ATTENTION,)),
    }
    return Case("DIEN", DIEN(config), dien_work(config, CANDIDATES, HISTORY), models, widths)


def served_dien_case() -> Case:
    """The sizes of the preset "full"."""
    config = replace(find_trainer("dien").preset("full").config, num_items=ITEMS)
    return Case("served DIEN", DIEN(config), dien_work(config, CANDIDATES, HISTORY))


def dcn_case(name: str, cross: Literal["vector", "matrix"]) -> Case:
    """Deep & Cross of 2017 or V2, beside the peers."""
    profile = DCN_2017_PROFILE if cross == "vector" else tuple(PROFILE_SIZES)
    layers, deep = (4, (64, 32)) if cross == "vector" else (2, (128, 64))
    model = DCN(
        DCNConfig(
            num_items=ITEMS, profile=profile, year=cross == "matrix", id_dim=0 if cross == "vector" else 16,
            cross=cross, cross_layers=layers, deep=deep, batch_norm=cross == "vector",
        )
    )  # fmt: skip
    others = ("genres",) if cross == "vector" else ("genres", "year", "item")
    widths = dict.fromkeys((*profile, *others), 16)
    rows = peer_rows(widths, 1)
    models = {
        "deepctr-torch": peers.deepctr_dcn(rows, cross, layers, deep, cross == "vector"),
        "FuxiCTR": peers.FuxiDCN(rows, cross, layers, deep, cross == "vector"),
    }
    return Case(name, model, dcn_work(model, CANDIDATES), models, widths)


def dcn_alone() -> list[Case]:
    """The notebook's DCN, whose input is the mean of all fields, and the sizes of the preset "full"."""
    found = []
    for name, preset in (("served DCN, notebook", "notebook"), ("served DCN", "full")):
        model = DCN(find_trainer("dcn").preset(preset).model_config(0, ITEMS))
        found.append(Case(name, model, dcn_work(model, CANDIDATES)))
    return found


def request(model: Ranker) -> Callable[[], object]:
    """One request of ours: a user with a full history, and the candidates."""
    served, users = served_form(model), random_users(1)
    batch = users.batch(model.config.max_history)
    candidates_BN = torch.from_numpy(random_items(CANDIDATES)).unsqueeze(0)

    def score() -> object:
        with torch.inference_mode():
            return served.score(served.encode(batch), candidates_BN)

    return score


def together(rounds: int) -> list[Comparison]:
    """CPU time per request of the served DIEN and DCN in batches, over a batch of one."""
    lines = []
    for case in (served_dien_case(), dcn_alone()[1]):
        blend = blend_of(case.model)
        for what, shape in (("alike", alike), ("of mixed sizes", mixed)):
            requests = {size: shape(size) for size in (1, *BATCHES)}
            sides = {str(size): partial(blend.predict, *asked) for size, asked in requests.items()}
            samples = interleave(sides, rounds, clock=process_time)
            # Mixed requests differ in cost: what one costs alone is the mean of those of the largest batch.
            alone = samples["1"].milliseconds if shape is alike else mean_alone(blend, requests[BATCHES[-1]], rounds)
            lines += [
                Comparison.over(
                    f"{case.name}: {size} requests {what}, each", "ms", samples[str(size)].milliseconds / size,
                    "alone", alone, 1.0 if size == BATCHES[-1] else None,
                )
                for size in BATCHES
            ]  # fmt: skip
    return lines


def mean_alone(blend: Blend, asked: Requests, rounds: int) -> float:
    """Milliseconds of a request when each is scored by itself."""
    users, candidates = asked
    sides = {str(row): partial(blend.predict, users.take([row]), [items]) for row, items in enumerate(candidates)}
    samples = interleave(sides, rounds, clock=process_time)
    return statistics.mean(sample.milliseconds for sample in samples.values())


def peer_rows(widths: Mapping[str, int], requests: int) -> peers.Rows:
    """CANDIDATES rows of random ids per request; widths: of the fields' embeddings."""
    steps, count = {"hist_item": HISTORY, "genres": 6}, requests * CANDIDATES
    fields = tuple(
        peers.Field(name, FIELD_SIZES[name.removeprefix("hist_")], width, steps.get(name, 0))
        for name, width in widths.items()
    )
    shapes = {field.name: (count, field.steps) if field.steps else (count,) for field in fields}
    return peers.Rows(fields, {field.name: torch.randint(1, field.size, shapes[field.name]) for field in fields})


def forwards(case: Case, requests: int) -> dict[str, Callable[[], object]]:
    """Each peer's forward on the prepared rows of some requests."""
    if not case.peers:
        return {}
    rows = peer_rows(case.widths, requests)
    inputs = {"deepctr-torch": rows.matrix(), "FuxiCTR": rows.ids}
    return {name: torch.inference_mode()(partial(model, inputs[name])) for name, model in case.peers.items()}


def gemm() -> Callable[[], object]:
    """One product of two square matrices of GEMM_SIZE."""
    one, other = torch.randn(2, GEMM_SIZE, GEMM_SIZE)
    out = torch.empty(GEMM_SIZE, GEMM_SIZE)
    return lambda: torch.mm(one, other, out=out)


def against_peers(case: Case, requests: int, samples: Mapping[str, Sample]) -> list[Comparison]:
    """Ours against each peer, a request; the goal is set against the faster one."""
    fastest = min(case.peers, key=lambda name: samples[name].median, default="")
    return [
        Comparison.faster(
            f"{case.name}: {requests} x {CANDIDATES} candidates, each", "ms", samples["ours"].milliseconds / requests,
            name, samples[name].milliseconds / requests, TIMES_FASTER if name == fastest else None,
        )
        for name in case.peers
    ]  # fmt: skip


def work_table(case: Case) -> Table:
    """Where a request's multiply-adds are."""
    total = sum(case.work.values())
    table = Table(box=None, title=f"{case.name}: {total / 1e6:.1f} M multiply-adds a request", title_justify="left")
    for part in case.work:
        table.add_column(part, justify="right")
    table.add_row(*(f"{work / total:.0%}" for work in case.work.values()))
    return table


if __name__ == "__main__":
    main(run, "tests.bench.scoring", __doc__)
