"""What might make scoring faster and is not built in, so that it can be tried again with another machine or torch.

In turn with what serves, CPU seconds of one thread. docs/benchmarks/log.md says what came out and why it is not used.

AOTInductor: a DIEN's whole request, from index tensors to logits, as one compiled program; any number of candidates and
any history of at least the evolution's steps. It needs a C++ compiler and some minutes (`--short` leaves it out). The
GRU over the history becomes torch's `scan`, as a program of 200 steps in a row fits one length only.

oneDNN: products of float32 by its AVX-512 kernels, in full precision, where MKL keeps to AVX2 (AMD processors). A
product alone, and DCN with all its layers in that way.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch._higher_order_ops import scan

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.models import dien_served
from recstack.models.dcn import DCN
from recstack.models.dien import DIEN
from recstack.models.dien_served import ServedDIEN
from services.trainer.trainers import find_trainer
from tests.bench.harness import Comparison, Report, interleave, main
from tests.bench.scoring_requests import CANDIDATES, ITEMS, alike, blend_of, item_table, random_items, random_users

PRODUCTS = ((500, 32, 96), (500, 32, 160), (500, 128, 64), (500, 300, 128), (2000, 32, 96), (2000, 300, 128))
"""Rows, inputs and outputs, as scoring has them."""
BATCHES = (1, 4, 16)
REQUESTS = ((CANDIDATES, 50), (100, 50), (CANDIDATES, 200), (20, 200))
"""Candidates and events of one request."""


def run(console: Console, short: bool) -> Report:
    """Both trials."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rounds, batches = (2, BATCHES[:1]) if short else (60, BATCHES)
    report = Report("Scoring: what is not built in, beside what serves")
    report.comparisons += onednn_products(rounds) + onednn_dcn(rounds, batches)
    if not short:
        report.comparisons += compiled_dien(rounds)
    return report


def onednn_products(rounds: int) -> list[Comparison]:
    """x W + b of PRODUCTS, some twenty million multiply-adds at a time."""
    lines = []
    for rows, inputs, outputs in PRODUCTS:
        x, weight, bias = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
        times = max(1, 20_000_000 // (rows * inputs * outputs))
        sides = {"oneDNN": partial(Packed(weight), x, bias), "MKL": partial(nn.functional.linear, x, weight, bias)}
        samples = interleave({n: _repeated(one, times) for n, one in sides.items()}, rounds, clock=process_time)
        ours, other = (samples[name].median / times * 1e6 for name in sides)
        lines.append(Comparison.faster(f"product {rows} x {inputs} x {outputs}", "µs", ours, "MKL", other))
    return lines


def onednn_dcn(rounds: int, batches: Sequence[int]) -> list[Comparison]:
    """The served DCN, one request and several at once."""
    blend = blend_of(DCN(find_trainer("dcn").preset("full").model_config(0, ITEMS)))
    packed: dict[int, Packed] = {}
    linear = nn.functional.linear

    def by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if id(weight) not in packed:
            packed[id(weight)] = Packed(weight)
        return packed[id(weight)](x, bias)

    def scored(with_linear: Any, requests: Any) -> object:
        with mock.patch.object(nn.functional, "linear", with_linear):
            return blend.predict(*requests)

    lines = []
    for size in batches:
        requests = alike(size)
        sides = {name: partial(scored, one, requests) for name, one in (("oneDNN", by_onednn), ("MKL", linear))}
        np.testing.assert_allclose(np.stack(sides["oneDNN"]()), np.stack(sides["MKL"]()), atol=1e-6)  # type: ignore[call-overload]
        samples = interleave(sides, rounds, clock=process_time)
        ours, other = (samples[name].milliseconds / size for name in sides)
        lines.append(Comparison.faster(f"served DCN, {size} at once, each", "ms", ours, "MKL", other))
    return lines


class Packed:
    """A linear layer's product by oneDNN. The operator is torch's own for what it compiles; it is not public."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.contiguous()  # kept, so that its id stays its own
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight, CANDIDATES)

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), self._packed, bias, "none", [], "")
        return product


def compiled_dien(rounds: int) -> list[Comparison]:
    """One request of the served DIEN, compiled against as it is."""
    model = DIEN(dataclasses.replace(find_trainer("dien").preset("full").config, num_items=ITEMS)).eval()
    served = served_dien(model, item_table())
    with torch.no_grad(), TemporaryDirectory(prefix="recstack-bench-") as folder:
        program = compiled(served, Path(folder) / "dien.pt2")
        lines = []
        for candidates, events in REQUESTS:
            asked = inputs(candidates, events)
            sides: dict[str, Callable[[], Tensor]] = {
                "compiled": partial(program, *asked),
                "eager": partial(OneRequest(served), *asked),
            }
            with torch.inference_mode():
                torch.testing.assert_close(sides["compiled"](), sides["eager"](), atol=1e-5, rtol=0)
                samples = interleave(sides, rounds, clock=process_time)
            ours, other = (samples[name].milliseconds for name in sides)
            what = f"DIEN, {candidates} candidates, {events} events, compiled"
            lines.append(Comparison.faster(what, "ms", ours, "eager", other))
    return lines


@torch.no_grad()
def served_dien(model: DIEN, table: ItemTable) -> ServedDIEN:
    """`model` laid out for serving. Not in inference mode, whose tensors cannot be exported."""
    return ServedDIEN(model, model.encode_items(table))


class OneRequest(nn.Module):
    """Encoding and scoring as one function of tensors, which is what can be exported."""

    def __init__(self, served: ServedDIEN) -> None:
        super().__init__()
        self._served = served
        for name, part in vars(served).items():
            if isinstance(part, nn.Module):
                self.add_module(name.strip("_"), part)  # its weights are weights of this module

    def forward(self, candidates_BN: Tensor, *users: Tensor) -> Tensor:
        """Logits [1, N]; users: the fields of a UserBatch."""
        return self._served.score(self._served.encode(UserBatch(*users)), candidates_BN)


def compiled(served: ServedDIEN, path: Path) -> Callable[..., Tensor]:
    """`served` for one request, compiled; item tables and weights are in the program."""
    events, candidates = torch.export.Dim("L", min=11, max=512), torch.export.Dim("N", min=2, max=5000)
    by_field = {"items_BL": {1: events}, "ratings_BL": {1: events}}
    shapes = [by_field.get(field.name) for field in dataclasses.fields(UserBatch)]
    with mock.patch.object(dien_served, "all_states", states_by_scan):
        program = torch.export.export(
            OneRequest(served),
            inputs(CANDIDATES, 60),
            dynamic_shapes=({1: candidates}, tuple(shapes)),
            strict=False,
        )
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    loaded: Callable[..., Tensor] = torch._inductor.aoti_load_package(str(path))
    return loaded


def states_by_scan(inputs_BLG: Tensor, recurrent_HG: Tensor) -> Tensor:
    """`recstack.models.rollout.all_states` as a `scan`. The weights travel with the state: when a program is exported,
    scan takes nothing else from outside."""
    size = len(recurrent_HG)

    def step(carried: tuple[Tensor, Tensor], gates_BG: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        before_BH, weights_HG = carried
        raw_BG = before_BH @ weights_HG
        update_BH, reset_BH = torch.sigmoid(gates_BG + raw_BG)[:, : 2 * size].chunk(2, dim=1)
        new_BH = torch.tanh(gates_BG[:, 2 * size :] + reset_BH * raw_BG[:, 2 * size :])
        after_BH = before_BH + update_BH * (new_BH - before_BH)
        return (after_BH, weights_HG.clone()), after_BH.clone()

    start = (inputs_BLG.new_zeros(len(inputs_BLG), size), recurrent_HG.clone())
    _, states_LBH = scan(step, start, inputs_BLG.transpose(0, 1).contiguous())
    return states_LBH.transpose(0, 1)


def inputs(candidates: int, events: int) -> tuple[Tensor, ...]:
    """Of OneRequest. Contiguous: a compiled program takes strides for what they were when it was exported, unasked."""
    batch = random_users(1, [events]).batch(events)
    users = [getattr(batch, field.name).contiguous() for field in dataclasses.fields(batch)]
    return torch.from_numpy(random_items(candidates)).unsqueeze(0), *users


def _repeated(one: Callable[[], object], times: int) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(times):
            one()

    return torch.inference_mode()(repeat)


if __name__ == "__main__":
    main(run, "tests.bench.scoring_trials", __doc__)
