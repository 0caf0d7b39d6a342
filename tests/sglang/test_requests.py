"""What a request holds is made safe before it reaches the scheduler; no server is needed to see it."""

from types import SimpleNamespace

from sglang_ext.serving.requests import check_prompt


def test_stop_tokens_of_another_vocabulary_are_taken_out():
    config = SimpleNamespace(vocab_size=512, hf_config=SimpleNamespace())
    manager = SimpleNamespace(mm_processor=None, model_config=config, server_args=SimpleNamespace(tokenizer_worker_num=1))
    request = SimpleNamespace(sampling_params={"stop_token_ids": [-5, 119_690, 7, 511, 512]})
    check_prompt(manager, request, [1])
    assert request.sampling_params == {"stop_token_ids": [7, 511]}
