"""Which models are accepted is decided at load, by structure: configurations, attention layers, and what the engine's user sees."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import run_python
from sglang.srt.configs.model_config import AttentionArch, ModelConfig
from sglang.srt.layers.moe.topk import TopK, TopKConfig
from sglang.srt.layers.radix_attention import AttentionType, RadixAttention
from sglang.srt.server_args import ServerArgs
from transformers import AutoConfig

from benchmarks.architectures import NO_HEAD_DIM
from sglang_ext.platform import PAGE_SIZE
from sglang_ext.serving.architectures import SERVED
from sglang_ext.serving.model_check import ModelRefused, check_config, check_layers, explain_adjustments, explain_unloaded
from sglang_ext.serving.transformers_models import _attend, head_reasons

REFUSED = {
    ("gpt_oss", "GptOssForCausalLM"): ("sliding-window attention", "attention sinks"),
    ("llama4_text", "Llama4ForCausalLM"): ("chunks of",),
    ("mistral", "MistralForCausalLM"): ("sliding-window attention",),
    ("gemma2", "Gemma2ForCausalLM"): ("sliding-window attention", "caps attention scores"),
    ("gemma3_text", "Gemma3ForCausalLM"): ("sliding-window attention",),
    ("deepseek_v2", "DeepseekV2ForCausalLM"): ("multi-head latent attention",),
    ("qwen3_next", "Qwen3NextForCausalLM"): ("linear-attention",),
    ("falcon_h1", "FalconH1ForCausalLM"): ("state-space",),
    ("whisper", "WhisperForConditionalGeneration"): ("cross attention",),
}
WINDOW = {"sliding_window": 64, "max_position_embeddings": 512}


def config_of(folder: Path, kind: str, architecture: str, **settings: Any) -> ModelConfig:
    """SGLang's view of a model of this kind; no weights."""
    AutoConfig.for_model(kind, **settings).save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": [architecture]}))
    return ModelConfig(str(folder), dtype="bfloat16")


@pytest.mark.parametrize(("kind", "architecture"), REFUSED)
def test_what_a_configuration_asks_of_attention_is_refused_before_weights_are_loaded(kind: str, architecture: str, tmp_path: Path):
    config = config_of(tmp_path, kind, architecture, **(WINDOW if kind == "mistral" else {}))
    with pytest.raises(ModelRefused) as refused:
        check_config(config, PAGE_SIZE)
    text = str(refused.value)
    assert text.startswith(f"{architecture} is not served on Rigi: ") and "LlamaForCausalLM" in text
    assert all(reason in text for reason in REFUSED[kind, architecture]), text


def plain(kv_heads: int = 2, text: dict[str, Any] | None = None, **changed: Any) -> SimpleNamespace:
    """A configuration that is served, with changes."""
    inner = SimpleNamespace(**text or {})
    hf = SimpleNamespace(architectures=["SomeForCausalLM"], model_type="some", get_text_config=lambda: inner)
    served = {
        "hf_config": hf, "hf_text_config": inner, "attention_arch": AttentionArch.MHA, "is_encoder_decoder": False, "is_hybrid_swa": False,
        "dtype": torch.bfloat16, "linear_attn_registry_result": None, "num_attention_heads": 4, "head_dim": 64, "v_head_dim": 64,
        "get_total_num_kv_heads": lambda: kv_heads,
    }  # fmt: skip
    return SimpleNamespace(**served | changed)


def test_a_window_that_no_layer_uses_is_accepted():
    check_config(plain(), PAGE_SIZE)
    check_config(plain(text={"sliding_window": 4096, "use_sliding_window": False, "max_position_embeddings": 32768}), PAGE_SIZE)
    check_config(plain(text={"sliding_window": 4096, "max_position_embeddings": 4096}), PAGE_SIZE)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head_dim": 40, "v_head_dim": 40}, r"attention_extend takes 4 query and 2 key heads of 40 .*head_dim % 32 = 0"),
        ({"v_head_dim": 32}, r"value heads have 32 elements, its key heads 64"),
        ({"num_attention_heads": 32, "kv_heads": 1}, r"attention_extend takes 32 query and 1 key heads.*group <= 16"),
        ({"num_attention_heads": 128, "kv_heads": 8}, r"attention_decode takes 128 query and 8 key heads.*heads <= 64"),
        ({"kv_heads": 3}, r"4 heads and the cache 3"),
        ({"dtype": torch.float16}, r"dtype is float16.*leave --dtype out"),
        ({"quantization": "fp8"}, r"checkpoint is quantized \(fp8\)"),
    ],
)
def test_heads_dtypes_and_checkpoints_that_no_kernel_takes(changed: dict, message: str):
    with pytest.raises(ModelRefused, match=message):
        check_config(plain(**changed), PAGE_SIZE)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"attn_type": AttentionType.ENCODER_ONLY}, r"not causal \(encoder_only\)"),
        ({"attn_type": AttentionType.DECODER_BIDIRECTIONAL}, "not causal"),
        ({"logit_cap": 30.0}, "caps attention scores"),
        ({"sliding_window_size": 128}, "sliding-window"),
        ({"is_cross_attention": True}, "cross attention"),
        ({"num_heads": 65 * 2, "num_kv_heads": 65}, "130 query and 65 key heads"),
        ({"v_head_dim": 64}, "value heads have 64"),
    ],
)
def test_a_layer_of_a_built_model_is_refused_with_its_reason(changed: dict, message: str):
    layer = {"num_heads": 4, "head_dim": 32, "scaling": 1.0, "num_kv_heads": 2, "layer_id": 0}
    check_layers(torch.nn.Sequential(RadixAttention(**layer)), PAGE_SIZE)
    with pytest.raises(ModelRefused, match=message):
        check_layers(torch.nn.Sequential(RadixAttention(**layer), RadixAttention(**layer | changed)), PAGE_SIZE)


def test_a_layer_that_a_model_keeps_beside_its_modules_is_looked_at():
    model = torch.nn.Linear(1, 1)
    model.config = SimpleNamespace(architectures=["SomeModel"])  # transformers has none of this name
    layer = {"num_heads": 4, "head_dim": 32, "scaling": 1.0, "num_kv_heads": 2, "layer_id": 0}
    model.attention_instances = {0: RadixAttention(**layer, is_cross_attention=True)}
    with pytest.raises(ModelRefused, match=r"^SomeModel is not served on Rigi: .*not causal"):
        check_layers(model, PAGE_SIZE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"softcap": 50.0}, "caps attention scores"),
        ({"s_aux": torch.zeros(4)}, "attention sinks"),
        ({"position_bias": torch.zeros(1, 4, 2, 2)}, "bias of positions"),
        ({"attention_mask": torch.zeros(1, 1, 2, 2)}, "masks attention in its own way"),
        ({"is_causal": False}, "not causal"),
    ],
)
def test_what_sglang_would_drop_of_a_transformers_models_attention_is_an_error(options: dict, message: str):
    mask = options.pop("attention_mask", None)
    with pytest.raises(NotImplementedError, match=message):
        _attend(lambda *_, **__: "attended", SimpleNamespace(layer_idx=0), 1, 2, 3, mask, forward_batch=SimpleNamespace(), **options)


def test_a_transformers_model_attends_once_in_each_layer_of_a_forward():
    def attend(layer: int, batch: Any) -> Any:
        return _attend(lambda *_, **__: "attended", SimpleNamespace(layer_idx=layer), 1, 2, 3, None, forward_batch=batch, softcap=None)

    batch = SimpleNamespace()
    assert attend(0, batch) == attend(1, batch) == attend(0, SimpleNamespace()) == "attended"
    with pytest.raises(NotImplementedError, match="more than once in a layer"):
        attend(1, batch)


def test_what_cannot_be_loaded_is_refused_with_the_reason_of_the_code_that_failed():
    def load(loader: None, *, model_config: Any, device_config: None) -> torch.nn.Module:
        raise ValueError("no implementation")

    with pytest.raises(ModelRefused, match=r"^SomeForCausalLM is not served on Rigi: .*ValueError: no implementation"):
        explain_unloaded(load, None, model_config=plain(), device_config=None)


def test_experts_whose_weights_sglang_does_not_normalize_as_configured_are_refused():
    routing = TopK.__new__(TopK)  # its constructor asks a running server
    torch.nn.Module.__init__(routing)
    routing.topk_config = TopKConfig(top_k=2, renormalize=False)
    model = torch.nn.Sequential(routing)
    model.config = SimpleNamespace(architectures=["SomeForCausalLM"], norm_topk_prob=False)
    check_layers(model, PAGE_SIZE)
    model.config.norm_topk_prob = True
    with pytest.raises(ModelRefused, match="norm_topk_prob True, and SGLang's code of it computes the other"):
        check_layers(model, PAGE_SIZE)


def test_a_bias_of_the_lm_head_that_sglang_leaves_out_is_a_reason():
    def reasons(kind: str, architecture: str, **settings: Any) -> list[str]:
        config = AutoConfig.for_model(kind, architectures=[architecture], **settings)
        return list(head_reasons(SimpleNamespace(config=config)))

    small = {"vocab_size": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}
    assert reasons("ctrl", "CTRLLMHeadModel", dff=16, **small) == [
        "its LM head has a bias, which SGLang leaves out for models that only transformers implements"
    ]
    assert not reasons("gpt2", "GPT2LMHeadModel", **small)
    assert not reasons("gpt2", "SomebodysOwnModel", **small)


def test_an_assertion_of_sglang_about_backends_is_a_refusal(tmp_path: Path):
    def assert_backend(_: Any) -> None:
        raise AssertionError("fa3 is required")

    config_of(tmp_path, "llama", "SomeForCausalLM")
    with pytest.raises(ModelRefused, match=r"^SomeForCausalLM is not served on Rigi: .* other devices only \(fa3 is required\)"):
        explain_adjustments(assert_backend, ServerArgs(model_path=str(tmp_path)))


def test_the_architectures_that_a_refusal_lists_are_those_of_the_support_table():
    table = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    measured = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:]
    assert sorted(measured) == sorted(SERVED)


def test_the_server_refuses_before_it_loads(tmp_path: Path):
    config_of(tmp_path, "gemma2", "Gemma2ForCausalLM")
    command = [sys.executable, "-m", "sglang.launch_server", "--model-path", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "Gemma2ForCausalLM is not served on Rigi: it has sliding-window attention" in done.stderr.strip().splitlines()[-1]


ENCODER = """
import sys
import torch
if __name__ == "__main__":
    import json
    import sglang
    from transformers import BertConfig, BertModel
    settings = json.loads(sys.argv[2])
    config = BertConfig(**settings, position_embedding_type="absolute", architectures=["BertModel"])
    BertModel(config).to(torch.bfloat16).save_pretrained(sys.argv[1])
    try:
        sglang.Engine(model_path=sys.argv[1], is_embedding=True, log_level="error")
        text = "accepted"
    except RuntimeError as error:
        text = str(error)
    print(json.dumps(text))
"""


@pytest.mark.slow
def test_an_engine_that_cannot_serve_its_model_raises_the_reason_in_the_users_process(tiny_model: Path, tmp_path: Path):
    import shutil

    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, tmp_path)
    script = tmp_path / "engine.py"
    script.write_text(ENCODER)
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    text = run_python(code, str(tmp_path), json.dumps(NO_HEAD_DIM), timeout=300)
    assert "BertModel is not served on Rigi: its attention is not causal (encoder_only)" in text, text
