"""The architectures of SGLang that are tested on the chip, against transformers in fp32: what docs/models.md and a refusal list."""

SERVED: tuple[str, ...] = (
    "ApertusForCausalLM",
    "CohereForCausalLM",
    "GPT2LMHeadModel",
    "GPTBigCodeForCausalLM",
    "GemmaForCausalLM",
    "Glm4ForCausalLM",
    "Glm4MoeForCausalLM",
    "GraniteMoeForCausalLM",
    "LlamaForCausalLM",
    "MixtralForCausalLM",
    "OPTForCausalLM",
    "Olmo2ForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen3MoeForCausalLM",
    "StableLmForCausalLM",
    "Starcoder2ForCausalLM",
)
