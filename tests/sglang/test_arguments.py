"""The table of SGLang's server arguments: it is complete, what it refuses is refused at once, and its document is current."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sglang.srt.arg_groups.arg_utils import record_fields
from sglang.srt.server_args import ServerArgs

from sglang_ext.serving import arguments

ROOT = Path(__file__).parents[2]
FIELDS = {field.name: field.default for field in record_fields(ServerArgs)}
REFUSED = sorted(name for name, verdict in arguments.verdicts().items() if verdict.verdict == "refused")


def other_than(default: Any) -> Any:
    """A value that nobody serves, of the default's type where that is known."""
    return True if isinstance(default, bool) else default + 77 if isinstance(default, int | float) else "nonsense"


def test_every_argument_of_the_installed_server_has_one_verdict():
    assert set(arguments.verdicts()) == set(FIELDS)
    assert {verdict.verdict for verdict in arguments.verdicts().values()} == {"served", "ignored", "refused", "internal"}
    assert all(v.why for v in arguments.verdicts().values() if v.verdict in ("ignored", "refused"))


def test_what_is_refused_is_refused_by_the_tables_text_before_anything_is_loaded():
    begin = time.monotonic()
    for name in REFUSED:
        verdict = arguments.verdicts()[name]
        server_args = ServerArgs(model_path="/no/such/model", **{name: other_than(FIELDS[name])})
        with pytest.raises(ValueError, match="Rigi does not serve") as refused:
            server_args.resolve_once()
        text = str(refused.value)
        assert arguments.flag(name) in text and verdict.why in text and verdict.do in text
    assert time.monotonic() - begin < 0.1 * len(REFUSED)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tp_size": 2}, "--tp-size 2: one chip serves a model. Use 1"),
        ({"dtype": "float16"}, "--dtype float16.*bfloat16"),
        ({"page_size": 64}, "--page-size 64.*16 tokens"),
        ({"enable_lora": True}, "--enable-lora: LoRA.*Merge"),
        ({"device": "cuda"}, "--device cuda.*only device"),
        ({"sampling_backend": "flashinfer"}, "--sampling-backend flashinfer.*pytorch"),
        ({"dp_size": 9}, "--dp-size 9: there are fewer chips.*RIGI_DEVICES"),
        ({"model_path": "/no/such/model"}, "--model-path '/no/such/model': there is no such folder"),
        ({"model_path": str(ROOT)}, "holds no config.json"),
    ],
)
def test_the_texts_name_value_reason_and_remedy(changed: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ServerArgs(**{"model_path": "dummy", **changed}).resolve_once()


def test_what_is_served_or_off_is_not_refused():
    for name, verdict in arguments.verdicts().items():
        for value in (*verdict.allowed, False, None):
            arguments.check(ServerArgs(**{"model_path": "dummy", name: value} if name != "model_path" else {"model_path": "dummy"}))


def test_what_is_ignored_gives_a_warning(caplog: pytest.LogCaptureFixture):
    arguments.check(ServerArgs(model_path="dummy", mem_fraction_static=0.5))
    assert "Rigi ignores --mem-fraction-static 0.5" in caplog.text and "--max-total-tokens" in caplog.text


def test_the_document_is_current():
    assert (ROOT / "docs/server-arguments.md").read_text() == arguments.markdown(), "run python -m sglang_ext.serving.arguments"


@pytest.mark.slow
def test_the_launcher_refuses_before_it_loads(tiny_model: Path):
    command = [sys.executable, "-m", "sglang.launch_server", "--model-path", str(tiny_model), "--attention-backend", "torch_native"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "Rigi does not serve --attention-backend torch_native" in done.stderr and "Load weight" not in done.stderr
