"""SGLang's decode steps as graphs of the chip: a step of a batch size seen before is one submission instead of hundreds of launches.

SGLang asks the platform for this class (`SRTPlatform.get_graph_runner_cls`). Batches are not padded: each size gets a graph of its own
when it comes up for the second time. A model whose decode step needs the host (an op in `rigi ops --fallbacks`) cannot be captured; it
is served launch by launch, and the log says why. `--disable-cuda-graph` turns graphs off.
"""

import copy
import logging
from dataclasses import dataclass
from typing import Any

import torch
from sglang.srt.model_executor.forward_context import forward_context, get_forward_context

logger = logging.getLogger(__name__)

# What a decode step reads that changes from step to step; everything else it uses stays where it is.
INPUTS = ("input_ids", "positions", "seq_lens", "req_pool_indices", "out_cache_loc")


@dataclass(slots=True)
class _Captured:
    graph: torch.accelerator.Graph
    inputs: list[torch.Tensor]
    output: Any


class RigiDecodeGraphs:
    """One captured decode step for each batch size."""

    def __init__(self, model_runner: Any, **unused: Any):
        self.runner = model_runner
        self.capture_bs: list[int] = []  # SGLang reports it: the sizes captured at start, of which there are none
        self.bs = 0
        self.captured: dict[int, _Captured] = {}
        self.seen: set[int] = set()
        self.refused: str | None = None

    def can_run_graph(self, batch: Any) -> bool:
        """Whether `execute` takes the batch: a plain decode step of a size that was decoded before."""
        plain = (
            batch.forward_mode.is_decode()
            and self.refused is None
            and batch.input_embeds is None
            and batch.spec_info is None
            and not batch.capture_hidden_mode.need_capture()
            and all(getattr(batch, name) is not None for name in INPUTS)
        )
        known = batch.batch_size in self.seen
        if plain:
            self.seen.add(batch.batch_size)
        return plain and known

    def execute(self, batch: Any, pp_proxy_tensors: Any = None, **unused: Any) -> Any:
        """Replays the step, captured first if need be. The logits are the graph's own memory: its next replay overwrites them, after
        what reads them now."""
        self.bs = batch.batch_size
        self.runner.attn_backend.init_forward_metadata(batch)
        captured = self.captured.get(self.bs) or self._capture(batch)
        if captured is None:
            return self._forward(batch)
        for static, name in zip(captured.inputs, INPUTS):
            static.copy_(getattr(batch, name))
        captured.graph.replay()
        return copy.copy(captured.output)

    def _forward(self, batch: Any) -> Any:
        with forward_context(get_forward_context(), forward_batch=batch):
            return self.runner.model.forward(batch.input_ids, batch.positions, batch)

    def _capture(self, batch: Any) -> _Captured | None:
        inputs = [getattr(batch, name).clone() for name in INPUTS]
        static = copy.copy(batch)
        for name, tensor in zip(INPUTS, inputs):
            setattr(static, name, tensor)
        graph = torch.accelerator.Graph()
        try:
            with graph:
                output = self._forward(static)
        except RuntimeError as error:
            self.refused = str(error)
            logger.warning("decode steps are launched op by op, they cannot be captured as a graph: %s", error)
            return None
        self.captured[self.bs] = _Captured(graph, inputs, output)
        return self.captured[self.bs]
