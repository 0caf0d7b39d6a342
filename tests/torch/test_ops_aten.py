"""aten ops on chip tensors that the chip's kernels serve: no fallback where they fit, the same result where they don't."""

import pytest
import torch
import torch.nn.functional as F
from accuracy import BF16, bf16


@pytest.fixture(autouse=True)
def inference() -> None:
    torch.rigi.reset_fallbacks()


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.device.type == "rigi" and got.dtype == want.dtype
    torch.testing.assert_close(got.cpu(), want, rtol=2e-2, atol=2e-2)


def test_linear_in_every_guise_runs_on_the_chip() -> None:
    x, w, b, r = bf16(6, 64), bf16(48, 64), bf16(48), bf16(6, 48)
    cx, cw, cb, cr = (t.to("rigi") for t in (x, w, b, r))
    close(F.linear(cx, cw), F.linear(x, w))
    close(F.linear(cx, cw, cb), F.linear(x, w, b))
    close(cx @ cw.t(), x @ w.t())
    close(torch.mm(cx, cw.t()), x @ w.t())
    close(torch.addmm(cr, cx, cw.t()), torch.addmm(r, x, w.t()))
    close(F.linear(cx.view(2, 3, 64), cw), F.linear(x.view(2, 3, 64), w))
    close(F.linear(cx.view(2, 3, 64), cw, cb), F.linear(x.view(2, 3, 64), w, b))
    close(torch.nn.Linear(64, 48).to("rigi", BF16)(cx).detach() * 0, torch.zeros(6, 48, dtype=BF16))
    counted = torch.rigi.fallbacks()
    assert set(counted) <= {"aten::_copy_from(convert)", "aten::mul.out"}  # the last line's own
    assert torch.rigi.statistics()["kernels"]["linear_m16"]["launches"] >= 3


def test_what_does_not_fit_falls_back_and_is_counted() -> None:
    x, w = bf16(6, 64), bf16(64, 48)
    close(x.to("rigi") @ w.to("rigi"), x @ w)  # the weight is not transposed
    close(x.float().to("rigi") @ w.float().to("rigi"), x.float() @ w.float())
    close(torch.addmm(bf16(48).to("rigi") * 0, x.to("rigi"), w.to("rigi"), alpha=0.5), (x @ w) * 0.5)
    counted = torch.rigi.fallbacks()
    assert counted["aten::mm.out"] == 2 and counted["aten::addmm.out"] == 1


def test_embedding() -> None:
    ids, rows = torch.randint(0, 100, (2, 7)), bf16(100, 64)
    assert torch.equal(F.embedding(ids.to("rigi"), rows.to("rigi")).cpu(), F.embedding(ids, rows))
    assert torch.rigi.fallbacks() == {}
    assert torch.equal(F.embedding(ids.to("rigi"), rows.float().to("rigi")).cpu(), F.embedding(ids, rows.float()))
    assert torch.rigi.fallbacks() == {"aten::index_select": 1}


def test_argmax_and_softmax_of_logits() -> None:
    logits = torch.randn(3, 1000)
    chip = logits.to("rigi")
    assert torch.equal(chip.argmax(-1).cpu(), logits.argmax(-1))
    assert torch.equal(chip.argmax(dim=1, keepdim=True).cpu(), logits.argmax(dim=1, keepdim=True))
    torch.testing.assert_close(torch.softmax(chip, -1).cpu(), torch.softmax(logits, -1))
    torch.testing.assert_close(F.softmax(chip, dim=1).cpu(), torch.softmax(logits, -1))
    assert torch.rigi.fallbacks() == {}
    assert chip.argmax().item() == logits.argmax().item()
    assert torch.equal(chip.argmax(0).cpu(), logits.argmax(0))
    torch.testing.assert_close(torch.softmax(chip, 0).cpu(), torch.softmax(logits, 0))
    torch.testing.assert_close(torch.softmax(chip.bfloat16(), -1).cpu(), torch.softmax(logits.bfloat16(), -1))
    assert {"aten::argmax.out", "aten::_softmax.out"} <= set(torch.rigi.fallbacks())


def test_error_mode_lets_the_chips_ops_through() -> None:
    x, w = bf16(6, 64).to("rigi"), bf16(48, 64).to("rigi")
    torch.rigi.set_fallback_mode("error")
    F.linear(x, w)
    F.embedding(torch.tensor([1, 2]).to("rigi"), w)
    with pytest.raises(RuntimeError, match=r"aten::mm\.out has no kernel on the chip"):
        torch.mm(x, w.view(64, 48))
