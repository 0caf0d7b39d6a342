"""A few of SGLang's own kits in the suite (`make kits` runs them all, on the real model), and the API that needs their packages."""

import importlib

import pytest
from processes import Server

from benchmarks import sglang_kits

pytestmark = pytest.mark.slow

SAMPLES = [
    ("basic_api_contract_kit", None),
    ("regex_constrained_kit", "test_regex_generate_greeting"),
    ("ebnf_constrained_kit", "test_ebnf_generate_number"),
    ("anthropic_messages_kit", "test_simple_messages"),
    ("anthropic_messages_kit", "test_count_tokens"),
]


@pytest.mark.parametrize(("kit", "name"), SAMPLES)
def test_kit(kit: str, name: str | None, server: Server, tiny_model):
    tests = [test for test in sglang_kits.cases(kit, server.url, server.process, str(tiny_model)) if name in (None, test._testMethodName)]
    assert tests
    assert [outcome.message for test in tests if not (outcome := sglang_kits.run(test, kit)).passed] == []


def test_the_responses_api_answers(server: Server, tiny_model):
    reply = server.post("/v1/responses", {"model": str(tiny_model), "input": "Hello", "max_output_tokens": 8, "temperature": 0})
    assert reply.status_code == 200, reply.text
    assert reply.json()["output"][0]["content"][0]["type"] == "output_text"


TOOLS = """bench_serving test.send_one test.run_eval test.few_shot_gsm8k benchmark.one_batch_server srt.entrypoints.harmony_utils
srt.constrained.outlines_backend srt.constrained.llguidance_backend srt.entrypoints.http_request_decompression srt.entrypoints.ssl_utils"""


@pytest.mark.parametrize("module", TOOLS.split())
def test_a_tool_of_sglang_imports(module: str):
    importlib.import_module(f"sglang.{module}")
