"""Scoring on a GPU: each batch is padded to one of a few shapes, whose CUDA graph was captured when it was loaded.

A ranker is some hundred small kernels. Launched one by one they cost more than they compute; a graph launches all of
them at once. A graph has fixed shapes and fixed addresses: inputs are copied to where it reads them, in one transfer
from pinned memory, and predictions from where it writes them, in one transfer back. A batch that is larger than every
bucket is scored without a graph, as it is.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.models.blend import Blend, Users
from recstack.models.ranker import Prediction
from services.ranking.gpu_buckets import Bucket, Buckets, Layout

log = logging.getLogger(__name__)

WARM_UPS = 2
"""Runs before a capture: kernels are compiled and chosen in the first, which a capture does not allow."""

Predictions = NDArray[np.float32]


class Recorder(Protocol):
    """Turns work of fixed shapes into something that repeats it on the same memory."""

    pinned: bool
    """Whether buffers on the host's side are to be pinned."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """What repeats `work`."""

    def wait(self) -> None:
        """Return when all that was launched is done."""


class CudaGraphs:
    """Records CUDA graphs. They share their memory, so one is replayed at a time, and its result copied at once."""

    pinned = True

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Warm up on a side stream, as captures require, and capture. Other threads may use the GPU meanwhile."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            work()
        return graph.replay

    def wait(self) -> None:
        """See Recorder."""
        torch.cuda.current_stream().synchronize()


def with_graphs(blend: Blend) -> "Blend | GraphedBlend":
    """The blend as it is served from where it is: with CUDA graphs on a GPU, unchanged elsewhere."""
    return GraphedBlend(blend) if blend.device.type == "cuda" else blend


class GraphedBlend:
    """A `Blend` with one recording per bucket. Threads take turns.

    Recording takes seconds; it happens when this is made, beside the bundle that still serves.
    """

    def __init__(self, blend: Blend, buckets: Buckets | None = None, recorder: Recorder | None = None) -> None:
        self._blend = blend
        self._buckets = buckets or Buckets()
        self._recorder = recorder or CudaGraphs()
        self._turn = threading.Lock()
        every = self._buckets.all(blend.max_history)
        self._layouts = {bucket: Layout(bucket, blend.history_lengths) for bucket in every}
        inputs = max(layout.size for layout in self._layouts.values())
        outputs = max(bucket.users * bucket.candidates for bucket in every)
        pinned = self._recorder.pinned
        self._sent = torch.zeros(inputs, dtype=torch.int64, pin_memory=pinned)
        self._inputs = torch.zeros(inputs, dtype=torch.int64, device=blend.device)
        self._outputs = torch.zeros(outputs, device=blend.device)
        self._received = torch.zeros(outputs, pin_memory=pinned)
        started = time.monotonic()
        # The largest first: the memory that it takes is then enough for all.
        self._replays = {bucket: self._record(bucket) for bucket in every}
        log.info("%d graphs recorded in %.1f s", len(every), time.monotonic() - started)

    @property
    def configs(self) -> Mapping[str, Any]:
        """See Blend."""
        return self._blend.configs

    @property
    def prediction(self) -> Prediction:
        """See Blend."""
        return self._blend.prediction

    @property
    def max_history(self) -> int:
        """See Blend."""
        return self._blend.max_history

    def predict(self, users: Users, candidates: Sequence[NDArray[np.int64]]) -> list[Predictions]:
        """See Blend."""
        longest = max(map(len, users.item_indices))
        bucket = self._buckets.fit(len(candidates), max(map(len, candidates)), longest, self.max_history)
        if bucket is None:
            return self._blend.predict(users, candidates)
        layout, size = self._layouts[bucket], bucket.users * bucket.candidates
        with self._turn, torch.inference_mode():
            layout.pack(self._sent.numpy(), users, candidates)
            self._inputs[: layout.size].copy_(self._sent[: layout.size], non_blocking=True)
            self._replays[bucket]()
            self._received[:size].copy_(self._outputs[:size], non_blocking=True)
            self._recorder.wait()
            predictions_BN = self._received[:size].numpy().reshape(bucket.users, bucket.candidates).copy()
        return [row[: len(chosen)] for row, chosen in zip(predictions_BN, candidates, strict=False)]

    def _record(self, bucket: Bucket) -> Callable[[], None]:
        batches, candidates_BN = self._layouts[bucket].unpack(self._inputs)
        predictions_BN = self._outputs[: candidates_BN.numel()].view(candidates_BN.shape)

        def work() -> None:
            with torch.inference_mode():
                predictions_BN.copy_(self._blend.predict_tensors(batches, candidates_BN))

        return self._recorder.record(work)
