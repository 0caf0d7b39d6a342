"""SGLang's model runner on the chip in this process, without the scheduler: logits of every step, tokens forced by the caller."""

import os
from array import array
from pathlib import Path
from typing import Any

import torch


class ChipRunner:
    """Loads a model as the scheduler would; `teacher_forced` then runs extend and decode forwards. One per process."""

    def __init__(self, folder: Path, **server_args: Any):
        os.environ.setdefault("RIGI_MODE", "functional")  # time changes no bit
        from sglang.srt.plugins import load_plugins

        load_plugins()
        from sglang.benchmark import one_batch
        from sglang.srt.entrypoints.engine import _set_envs_and_config
        from sglang.srt.server_args import PortArgs, ServerArgs

        self._bench = one_batch
        args = ServerArgs(model_path=str(folder), log_level="error", **server_args)
        args.resolve_once()
        _set_envs_and_config(args)
        one_batch.publish(args, role="scheduler", ranks=one_batch.SpawnRanks(world_rank=0, gpu_id=0))
        one_batch._init_process_global_configs()
        self.runner, self.tokenizer = one_batch.load_model(args, PortArgs.init_new(args), 0, 0)

    def teacher_forced(
        self, prompts: list[list[int]], continuations: list[list[int]], progress: Any = lambda *_: None
    ) -> list[torch.Tensor]:
        """Per prompt, fp32 logits [len(continuation), vocab] on the host: the first row by extend, the others by decode.

        All prompts run as one batch; continuations must have one length.
        """
        reqs = [self._request(i, prompt) for i, prompt in enumerate(prompts)]
        _, logits, batch = self.runner.extend(reqs)
        rows = [logits.cpu().float()]
        steps = len(continuations[0])
        for step in range(1, steps):
            progress(step, steps)
            forced = torch.tensor([tokens[step - 1] for tokens in continuations]).to(logits.device)
            _, logits = self.runner.decode(forced, batch)
            rows.append(logits.cpu().float())
        self.runner.clear()
        return list(torch.stack(rows, dim=1).unbind(0))

    def _request(self, index: int, ids: list[int]) -> Any:
        bench = self._bench
        req = bench.Req(
            rid=str(index),
            origin_input_text="",
            origin_input_ids=array("q", ids),
            sampling_params=bench.SamplingParams(temperature=0, max_new_tokens=1 << 20),
        )
        req.full_untruncated_fill_ids = req.origin_input_ids
        req.logprob_start_len = -1
        req.extend_end = len(ids)
        return req
