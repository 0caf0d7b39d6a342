"""Small random models of SGLang's architectures, on the chip beside transformers: what `docs/models.md` is made of.

    python -m benchmarks.architectures [KIND ...]     # a table; the exit code is 1 if one is wrong
    python -m benchmarks.architectures --write        # docs/models.md and what a refusal lists, from a run of all of them (minutes)

The weights are random but scaled so that logits spread like a real model's. Greedy tokens of transformers in fp32 are forced; compared
are the log-probabilities of the whole vocabulary, beside what transformers in bf16 makes of the same weights.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

SHAPE: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    "tie_word_embeddings": False,
}  # fmt: skip
GPT2: dict[str, Any] = {
    "vocab_size": 512, "n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 512, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPTJ = GPT2 | {"rotary_dim": 16}
OPT: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 128, "ffn_dim": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "bos_token_id": 1,
    "max_position_embeddings": 512, "word_embed_proj_dim": 128, "eos_token_id": 2,
}  # fmt: skip
NO_HEAD_DIM = {name: value for name, value in SHAPE.items() if name != "head_dim"}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}  # fmt: skip
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "norm_topk_prob": True}
LOCAL_EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2}
ROUTED_EXPERTS = {
    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_shared_experts": 1, "first_k_dense_replace": 1,
    "n_group": 1, "topk_group": 1,
}  # fmt: skip

# Kind of configuration in transformers -> its settings.
MODELS: dict[str, dict[str, Any]] = {
    "llama": SHAPE | {"attention_bias": True, "rope_parameters": LLAMA3_ROPE},
    "qwen2": SHAPE,
    "qwen3": SHAPE,
    "mistral": SHAPE | {"sliding_window": None},
    "phi3": NO_HEAD_DIM,
    "arcee": SHAPE,
    "granite": SHAPE,
    "gemma": SHAPE | {"tie_word_embeddings": True},
    "apertus": SHAPE,
    "cohere": NO_HEAD_DIM | {"tie_word_embeddings": True},
    "olmo": NO_HEAD_DIM | {"num_key_value_heads": 4},
    "olmo2": NO_HEAD_DIM,
    "glm4": SHAPE | {"partial_rotary_factor": 0.5},
    "stablelm": NO_HEAD_DIM,
    "starcoder2": NO_HEAD_DIM,
    "gpt2": GPT2,
    "gpt_bigcode": GPT2,
    "opt": OPT,
    "phi": NO_HEAD_DIM | {"partial_rotary_factor": 0.5, "num_key_value_heads": 4, "intermediate_size": 512},
    "gptj": GPTJ,
    "qwen2_moe": SHAPE | EXPERTS | {"shared_expert_intermediate_size": 64},
    "qwen3_moe": SHAPE | EXPERTS,
    "glm4_moe": SHAPE | ROUTED_EXPERTS,
    "mixtral": SHAPE | LOCAL_EXPERTS | {"sliding_window": None},
    "olmoe": NO_HEAD_DIM | EXPERTS | {"num_key_value_heads": 4, "intermediate_size": 64, "norm_topk_prob": False},
    "granitemoe": NO_HEAD_DIM | LOCAL_EXPERTS,
}
PROMPTS = ("Hello there how are", "12 plus")
TOKENS = 8
# The chip rounds where bf16 does, and keeps fp32 in more places: it may not be much further from fp32 than bf16 on the CPU is.
SLACK = 2.0
FLOOR = 0.05

# A process of its own for each model: SGLang keeps the model in process-wide state.
MEASURE = """
import json, sys
from pathlib import Path
import torch
import sglang_ext.device
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from benchmarks import reference
from benchmarks.chip_runner import ChipRunner
folder, kind, settings, texts, tokens = Path(sys.argv[1]), sys.argv[2], *map(json.loads, sys.argv[3:])
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).to(torch.bfloat16)
for weight in model.parameters():
    if weight.dim() > 1:
        torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
model.save_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
prompts = [tokenizer(text).input_ids for text in texts]
exact, rounded = reference.load(folder, torch.float32), reference.load(folder, torch.bfloat16)
tails = reference.greedy(exact, prompts, tokens)
want = [reference.log_probs(exact, *pair) for pair in zip(prompts, tails)]
bf16 = [reference.log_probs(rounded, *pair) for pair in zip(prompts, tails)]
runner = ChipRunner(folder, max_total_tokens=4096)
torch.rigi.reset_fallbacks()
got = [torch.log_softmax(x, -1) for x in runner.teacher_forced(prompts, tails)]
error = lambda rows: max(float((w - r).abs().max()) for w, r in zip(want, rows))
print(json.dumps({
    "architecture": type(model).__name__, "error": error(got), "bf16": error(bf16), "fallbacks": torch.rigi.fallbacks(),
}))
"""


def measure(kind: str, tokenizer: Path) -> dict[str, Any]:
    """`architecture`, largest error of a log-probability on the chip (`error`) and in bf16 on the CPU (`bf16`), `fallbacks`
    by op. tokenizer: a model folder with one of 512 entries. Raises RuntimeError with the process's error.
    """
    with tempfile.TemporaryDirectory(prefix="rigi-models-") as folder:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tokenizer / name, folder)
        arguments = [folder, kind, *map(json.dumps, (MODELS[kind], PROMPTS, TOKENS))]
        done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True)
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    if done.returncode:
        errors = [line for line in lines if "Error" in line or "Refused" in line]
        raise RuntimeError(f"{kind}: {(errors or lines or [f'exit code {done.returncode}'])[-1]}")
    return json.loads(lines[-1])


def right(result: dict[str, Any]) -> bool:
    return result["error"] <= max(FLOOR, SLACK * result["bf16"])


PAGE = """# Models on the chip

Made by `python -m benchmarks.architectures --write`. Each is a small model with random weights and the true architecture, served by
SGLang's model runner on the chip and compared with transformers in fp32: largest error of a log-probability over the whole vocabulary,
{tokens} forced greedy tokens of {prompts} prompts. Beside it the error of transformers in bf16 on the CPU with the same weights. The last
column counts aten ops that ran on the host in all of these steps: a model with few of them in a step decodes as one graph.

Other architectures are judged by their structure when they are loaded. Decoders with causal multi-head or grouped-query attention over
the whole context run; anything else is refused before the first request, with every reason: latent, windowed, chunked, capped, cross and
bidirectional attention, attention sinks, state-space and linear-attention layers, quantized checkpoints, and heads that no packaged
kernel takes. A model is also run for two tokens before it is accepted.

| architecture | error on the chip | error in bf16 | ops on the host |
|---|---|---|---|
"""


def publish(rows: list[str]) -> None:
    """Writes docs/models.md with these rows, and their architectures where refusals read them."""
    root = Path(__file__).parent.parent
    (root / "docs" / "models.md").write_text(PAGE.format(tokens=TOKENS, prompts=len(PROMPTS)) + "\n".join(rows) + "\n")
    names = "".join(f'    "{row.split("|")[1].strip()}",\n' for row in rows)
    file = root / "sglang_ext" / "serving" / "architectures.py"
    file.write_text(f"{file.read_text().split('SERVED')[0]}SERVED: tuple[str, ...] = (\n{names})\n")


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(list(MODELS)))
@click.option("--write", is_flag=True, help="Write docs/models.md, and the architectures that a refusal lists.")
def main(kinds: tuple[str, ...], write: bool) -> None:
    """Compare small random models on the chip with transformers."""
    from sglang_ext.serving import model_folder

    rows, wrong = [], []
    with tempfile.TemporaryDirectory(prefix="rigi-models-") as folder:
        tokenizer = model_folder.make_tiny(Path(folder) / "tiny")
        for kind in kinds or MODELS:
            try:
                result = measure(kind, tokenizer)
            except RuntimeError as error:
                wrong.append(kind)
                print(f"| {kind} | {error} |", flush=True)
                continue
            if not right(result):
                wrong.append(kind)
            rows.append(
                f"| {result['architecture']} | {result['error']:.3f} | {result['bf16']:.3f} | {sum(result['fallbacks'].values())} |"
            )
            print(rows[-1], flush=True)
    if write and not wrong and not kinds:
        publish(rows)
    if wrong:
        print(f"not right: {', '.join(wrong)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
