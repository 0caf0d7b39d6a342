"""The model folders: names, shapes, row order, tokenizer, and that making one is atomic and repeatable."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from sglang_ext.serving import model_folder, tokenizer
from sglang_ext.serving.cli import model as model_command

LAYER_PARTS = {
    "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
}  # fmt: skip


def load_tokenizer(folder: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_rope_rows_are_put_back_in_huggingface_order():
    """GGUF stores the rotary pairs (i, i + d/2) of a head next to each other; the inverse brings the halves back."""
    heads, head_dim, hidden = 3, 8, 5
    original = np.arange(heads * head_dim * hidden, dtype=np.float32).reshape(heads * head_dim, hidden)
    stored = original.reshape(heads, 2, head_dim // 2, hidden).swapaxes(1, 2).reshape(original.shape)  # as the GGUF converter does
    assert (stored[0] == original[0]).all() and (stored[1] == original[head_dim // 2]).all()
    np.testing.assert_array_equal(model_folder._rope_rows(stored, heads), original)


def test_tiny_model_loads_in_transformers_without_missing_weights(tiny_model: Path):
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert (model.config.num_attention_heads, model.config.num_key_value_heads, model.config.head_dim) == (4, 2, 32)


def test_tiny_model_is_the_same_every_time(tiny_model: Path, tmp_path: Path):
    again = model_folder.make_tiny(tmp_path / "tiny")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (again / name).read_bytes() == (tiny_model / name).read_bytes()


def test_a_whole_folder_is_left_alone_and_a_broken_one_replaced(tmp_path: Path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")  # an interrupted attempt of another tool: no weights
    model_folder.make_tiny(folder)
    assert model_folder.is_complete(folder)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    model_folder.make_tiny(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"], "temporary folders are left"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(model_folder, "write_tokenizer", fail)
    with pytest.raises(OSError, match="no space"):
        model_folder.make_tiny(tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_survives_the_tokenizer(text: str):
    built = tokenizer.build_tokenizer(model_folder._byte_tokenizer_fields(512))
    assert built.decode(built.encode(text).ids, skip_special_tokens=False) == text


def test_digits_are_single_tokens_and_marks_are_one_token(tiny_model: Path):
    loaded = load_tokenizer(tiny_model)
    assert loaded.convert_ids_to_tokens(loaded("2026").input_ids) == ["2", "0", "2", "6"]
    assert loaded("<|im_start|>user").input_ids[0] == 1
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (1, 2, 2)


def test_unknown_tokenizer_and_architecture_are_refused(tmp_path: Path):
    fields = model_folder._byte_tokenizer_fields(512)
    with pytest.raises(ValueError, match="'llama'.*byte-level BPE"):
        tokenizer.build_tokenizer(fields | {"tokenizer.ggml.model": "llama"})
    with pytest.raises(ValueError, match="'qwen9'.*gpt-2, smollm"):
        tokenizer.build_tokenizer(fields | {"tokenizer.ggml.pre": "qwen9"})


def test_commands_say_what_is_wrong(tmp_path: Path):
    result = CliRunner().invoke(model_command, ["smollm2", "--gguf", str(tmp_path / "none.gguf"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1 and "none.gguf" in result.output and "--gguf" in result.output
    result = CliRunner().invoke(model_command, ["tiny", "--out", str(tmp_path / "t")])
    assert result.exit_code == 0 and result.output.strip().endswith(str(tmp_path / "t"))


@pytest.mark.slow
def test_smollm2_has_every_weight_under_its_name(real_model: Path):
    weights = load_file(real_model / "model.safetensors")
    config = json.loads((real_model / "config.json").read_text())
    names = {f"model.layers.{i}.{part}.weight" for i in range(config["num_hidden_layers"]) for part in LAYER_PARTS}
    assert set(weights) == names | {"model.embed_tokens.weight", "model.norm.weight"}
    assert all(w.dtype == torch.bfloat16 and bool(torch.isfinite(w).all()) for w in weights.values())
    assert weights["model.embed_tokens.weight"].shape == (49152, 576)
    assert weights["model.layers.0.self_attn.k_proj.weight"].shape == (192, 576)
    assert weights["model.layers.29.mlp.down_proj.weight"].shape == (576, 1536)
    assert (config["rope_theta"], config["max_position_embeddings"], config["tie_word_embeddings"]) == (100000.0, 8192, True)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["Hello, wörld! 12345 + 67 = ?", "  def f(x):\n\treturn x**2  # 日本語 😀 don't", "\n\n\n", "a" * 300])
def test_smollm2_tokenizer_round_trips(real_model: Path, text: str):
    loaded = load_tokenizer(real_model)
    ids = loaded(text).input_ids
    assert loaded.decode(ids) == text
    assert all(not piece.isdigit() or len(piece) == 1 for piece in loaded.convert_ids_to_tokens(ids))


@pytest.mark.slow
def test_smollm2_answers_in_transformers(real_model: Path):
    """The row order, the tied head, the tokenizer and the template are right if the model knows its capitals."""
    from transformers import AutoModelForCausalLM

    loaded = load_tokenizer(real_model)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = loaded.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert loaded.decode(inputs["input_ids"][0]).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    model = AutoModelForCausalLM.from_pretrained(real_model, dtype=torch.float32)
    out = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert loaded.decode(out) == "The capital of France is Paris.<|im_end|>"
