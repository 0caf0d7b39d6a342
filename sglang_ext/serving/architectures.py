"""The architectures of SGLang that are tested on the chip, against transformers in fp32: what docs/models.md and a refusal list."""

SERVED: tuple[str, ...] = ("LlamaForCausalLM",)
