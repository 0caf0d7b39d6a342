"""The counted fallback: same bits as the CPU, counted by name, refused or warned about as told, and safe with asynchronous work."""

import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

ROOT = Path(__file__).parents[2]


def same(ours: object, theirs: object) -> None:
    """Bit for bit, through lists and tuples; tensors of ours must be on the chip."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, torch.Tensor) and ours.device.type == "rigi"
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        assert torch.equal(ours.cpu().nan_to_num(), theirs.nan_to_num())
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)  # type: ignore[arg-type]
        for a, b in zip(ours, theirs):  # type: ignore[call-overload]
            same(a, b)
    else:
        assert ours == theirs


A, B = torch.randn(6, 8), torch.randn(6, 8)
IDS = torch.tensor([5, 0, 3])

OPS: dict[str, Callable[..., object]] = {
    "add": lambda a, b, i: a + b,
    "scalar": lambda a, b, i: a * 2.5 - 1,
    "broadcast": lambda a, b, i: a + b[0],
    "compare": lambda a, b, i: a > b,
    "where": lambda a, b, i: torch.where(a > 0, a, b),
    "matmul": lambda a, b, i: a @ b.t(),
    "bmm": lambda a, b, i: torch.bmm(a.view(2, 3, 8), b.view(2, 8, 3)),
    "reduce": lambda a, b, i: (a.sum(), a.mean(1), a.amax(0)),
    "max": lambda a, b, i: torch.max(a, dim=1),
    "topk": lambda a, b, i: torch.topk(a, 3),
    "sort": lambda a, b, i: torch.sort(a, dim=0),
    "cat": lambda a, b, i: torch.cat([a, b, a], dim=1),
    "stack": lambda a, b, i: torch.stack([a, b]),
    "split": lambda a, b, i: a.split(4, dim=1),
    "chunk": lambda a, b, i: a.chunk(3),
    "unbind": lambda a, b, i: a.unbind(0),
    "index": lambda a, b, i: a[i],
    "index_put": lambda a, b, i: a.index_put((i,), b[:3]),
    "gather": lambda a, b, i: a.gather(1, i.view(3, 1)),
    "mask": lambda a, b, i: a[a > 0],
    "nonzero": lambda a, b, i: torch.nonzero(a > 0),
    "cumsum": lambda a, b, i: a.cumsum(1),
    "softmax": lambda a, b, i: F.softmax(a, dim=0),
    "layer_norm": lambda a, b, i: F.layer_norm(a, (8,), b[0], b[1]),
    "silu": lambda a, b, i: F.silu(a),
    "sdpa": lambda a, b, i: F.scaled_dot_product_attention(a.view(1, 2, 3, 8), b.view(1, 2, 3, 8), b.view(1, 2, 3, 8), is_causal=True),
    "embedding": lambda a, b, i: F.embedding(i, a),
    "linear": lambda a, b, i: F.linear(a, b, b[:, 0]),
    "argmax": lambda a, b, i: (a.argmax(), a.argmax(-1), a.argmax(1, keepdim=True)),
    "conv": lambda a, b, i: F.conv1d(a.view(1, 6, 8), b.view(4, 6, 2)),
    "einsum": lambda a, b, i: torch.einsum("ij,kj->ik", a, b),
    "arange": lambda a, b, i: torch.arange(7, device=a.device) + i.sum(),
    "linspace": lambda a, b, i: torch.linspace(0, 1, 9, device=a.device),
    "new_full": lambda a, b, i: a.new_full((2, 2), 3.5),
    "clone_strided": lambda a, b, i: a.t().contiguous(),
    "view_as_complex": lambda a, b, i: torch.view_as_complex(a.view(6, 4, 2)).abs(),
    "conv_transpose": lambda a, b, i: F.conv_transpose1d(a.view(1, 6, 8), b.view(6, 4, 2)),
    "group_norm": lambda a, b, i: F.group_norm(a.view(1, 6, 8), 3),
    "batch_norm": lambda a, b, i: F.batch_norm(a, b[0], b[1].abs(), training=False),
    "pool": lambda a, b, i: F.max_pool1d(a.view(1, 6, 8), 2),
    "repeat_interleave": lambda a, b, i: a[:3].repeat_interleave(i + 1, dim=0),
    "unique": lambda a, b, i: torch.unique(torch.cat([i, i])),
    "svd_values": lambda a, b, i: torch.linalg.svdvals(a),
    "var_mean": lambda a, b, i: torch.var_mean(a, dim=1),
    "equal": lambda a, b, i: torch.equal(a, b),
    "allclose": lambda a, b, i: torch.allclose(a, a),
}  # fmt: skip


@pytest.mark.parametrize("name", OPS)
def test_same_bits_as_the_cpu(name: str) -> None:
    theirs = OPS[name](A.clone(), B.clone(), IDS)
    same(OPS[name](A.to("rigi"), B.to("rigi"), IDS.to("rigi")), theirs)


IN_PLACE: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], object]] = {
    "add_": lambda a, b, i: a.add_(b),
    "slice": lambda a, b, i: a[1:4, ::2].mul_(3),
    "setitem": lambda a, b, i: a.__setitem__(i, b[:3]),
    "setitem_host_index": lambda a, b, i: a.__setitem__(torch.tensor([1, 2]), 7.0),
    "masked_fill_": lambda a, b, i: a.masked_fill_(b > 0, -1),
    "index_copy_": lambda a, b, i: a.index_copy_(0, i, b[:3]),
    "scatter_add_": lambda a, b, i: a.scatter_add_(0, i.view(3, 1).expand(3, 8), b[:3]),
    "copy_": lambda a, b, i: a.t().copy_(b.t()),
    "clamp_": lambda a, b, i: a.clamp_(-0.5, 0.5),
    "fill_": lambda a, b, i: a[2].fill_(9),
    "t_": lambda a, b, i: a.t_(),
    "squeeze_": lambda a, b, i: a.unsqueeze_(0).squeeze_(0),
    "foreach": lambda a, b, i: torch._foreach_mul_([a, b], 2.0),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name: str) -> None:
    a, b, x, y = A.clone(), B.clone(), A.to("rigi"), B.to("rigi")
    pointer = x.data_ptr()
    IN_PLACE[name](a, b, IDS)
    IN_PLACE[name](x, y, IDS.to("rigi"))
    same([x, y], [a, b])
    assert x.data_ptr() == pointer and x.stride() == a.stride()


def test_outputs_may_be_resized() -> None:
    out, want = torch.empty(0, device="rigi"), torch.empty(0)
    x = A.to("rigi")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.add(x, x, out=out)
        torch.add(A, A, out=want)
        values, indices = torch.empty(0, device="rigi"), torch.empty(0, dtype=torch.int64, device="rigi")
        torch.sort(x, out=(values, indices))
    same([out, values, indices], [want, *torch.sort(A)])
    assert torch.rigi.memory_allocated() > 0 and out.untyped_storage().device.type == "rigi"


def test_overlap_is_refused_as_on_the_cpu() -> None:
    x = torch.zeros(5, device="rigi")
    with pytest.raises(RuntimeError, match="single memory location"):
        x[1:].add_(x[:-1])
    with pytest.raises(RuntimeError, match="more than one element"):
        torch.zeros(1, device="rigi").expand(3).add_(1)


def test_views_share_memory_and_never_count() -> None:
    x = torch.zeros(6, 8, device="rigi")
    views = [
        x.view(8, 6), x.t(), x[1], x[:, 2:4], x.reshape(4, 12), x.unsqueeze(0), x.expand(2, 6, 8), x.permute(1, 0), x.diagonal(),
        x.unfold(1, 2, 2), x.view(torch.int32), x.detach(), x.narrow(0, 1, 2), *x.split(2), *x.unbind(0), x.as_strided((3,), (2,)),
        x.flatten(), x.movedim(0, 1), torch.view_as_complex(x.view(6, 4, 2)), x.select(0, 1), x.squeeze(), x.contiguous(), x[:],
    ]  # fmt: skip
    for view in views:
        assert view.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert torch.rigi.fallbacks() == {}


def test_counts_by_name() -> None:
    x = A.to("rigi")
    for _ in range(3):
        x + x
    F.silu(x)
    assert torch.rigi.fallbacks() == {"aten::add.out": 3, "aten::silu.out": 1}
    torch.rigi.reset_fallbacks()
    assert torch.rigi.fallbacks() == {}


def test_error_mode_names_op_dtypes_shapes_and_remedy() -> None:
    x = A.to("rigi")
    assert torch.rigi.set_fallback_mode("error") == "allow"
    with pytest.raises(RuntimeError) as caught:
        torch.mul(x, x)
    text = str(caught.value)
    for part in ("aten::mul.out", "Float[6, 8] on rigi:0", "RIGI_FALLBACK", "rigi ops", "set_fallback_mode"):
        assert part in text
    with pytest.raises(RuntimeError, match=r"_copy_from\(convert\)"):
        x.double()
    x.view(8, 6)[1].cpu()  # views and plain copies need no fallback
    torch.empty_like(x).zero_()
    assert torch.rigi.fallbacks() == {}


def test_warn_mode_warns_once_an_op() -> None:
    x = A.to("rigi")
    torch.rigi.set_fallback_mode("warn")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.atan2(x, x)
        torch.atan2(x, x)
    assert len([w for w in seen if "aten::atan2.out" in str(w.message)]) == 1
    assert torch.rigi.fallbacks()["aten::atan2.out"] == 2


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="'allow', 'warn' or 'error', got 'never'"):
        torch.rigi.set_fallback_mode("never")


@pytest.mark.slow
@pytest.mark.parametrize(("value", "mode"), [("error", "error"), ("warn", "warn"), ("", "allow"), ("nonsense", "warn")])
def test_the_environment_sets_the_mode(value: str, mode: str) -> None:
    code = "import torch, sglang_ext.device; print(torch.rigi.fallback_mode())"
    env = {**os.environ, "RIGI_FALLBACK": value}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == mode
    assert ("not one of error, warn, allow" in done.stderr) == (value == "nonsense")


def test_host_tensors_beside_the_chips_are_refused() -> None:
    x = A.to("rigi")
    for run in (lambda: x + B, lambda: torch.cat([x, B]), lambda: torch.where(x > 0, x, B), lambda: F.embedding(IDS, x), lambda: x.add_(B)):
        with pytest.raises(RuntimeError, match="device"):
            run()
    same(x + torch.tensor(2.0), A + 2.0)  # 0-dim host tensors are scalars
    same(x[IDS], A[IDS])  # and host indices are moved, as on every device


def test_a_refused_call_leaves_no_trace() -> None:
    x = A.to("rigi")
    with pytest.raises(RuntimeError):
        torch.bmm(x, x)
    same(x + x, A + A)


def test_waits_for_work_of_every_stream() -> None:
    """A large upload on a side stream is still running when the fallback reads its target."""
    side = torch.rigi.Stream()
    host = torch.ones(8 << 20).pin_memory()
    for _ in range(5):
        x = torch.zeros(8 << 20, device="rigi")
        with torch.rigi.stream(side):
            x.copy_(host, non_blocking=True)
        assert (x + 1).cpu().eq(2).all()


def test_threads() -> None:
    """Four threads run ops on tensors of their own and on a shared one."""
    shared, failures = A.to("rigi"), []

    def work(seed: int) -> None:
        try:
            mine = torch.full((6, 8), float(seed))
            x = mine.to("rigi")
            for _ in range(100):
                same(x * 2 + shared, mine * 2 + A)
                same(torch.cat([x, shared]).sum(0), torch.cat([mine, A]).sum(0))
        except Exception as error:  # reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert torch.rigi.fallbacks()["aten::cat.out"] == 400


def test_memory_returns() -> None:
    gc.collect()  # tensors that an earlier test's exception holds in its frames
    torch.rigi.synchronize()
    before = torch.rigi.memory_allocated()
    for name, run in OPS.items():
        if name != "svd_values":
            run(A.to("rigi"), B.to("rigi"), IDS.to("rigi"))
    assert torch.rigi.memory_allocated() == before


def test_autograd_and_autocast() -> None:
    weight = torch.randn(4, 8, requires_grad=True)
    mine = weight.detach().to("rigi").requires_grad_()
    F.linear(A, weight).square().sum().backward()
    F.linear(A.to("rigi"), mine).square().sum().backward()
    assert weight.grad is not None and mine.grad is not None
    same(mine.grad, weight.grad)
    with torch.autocast("rigi", dtype=torch.bfloat16):
        assert F.linear(A.to("rigi"), mine).dtype == torch.bfloat16


def test_inference_mode() -> None:
    with torch.inference_mode():
        x = A.to("rigi")
        same(x + x, A + A)
        y = x.t()
    assert y.is_inference()


def test_a_module_runs() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.LayerNorm(16), torch.nn.Linear(16, 4))
    want = model(A)
    same(model.to("rigi")(A.to("rigi")).detach(), want.detach())
