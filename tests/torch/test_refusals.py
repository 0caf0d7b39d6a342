"""What the chip has not is said in one sentence; bad operands give the CPU's error, also where kernels of the chip serve good ones."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

OTHER_LAYOUTS: dict[str, Callable[[], object]] = {
    "sparse_coo_tensor": lambda: torch.sparse_coo_tensor(torch.tensor([[0, 1]]), torch.tensor([1.0, 2.0]), (3,), device="rigi"),
    "sparse_csr_tensor": lambda: torch.sparse_csr_tensor([0, 1], [0], [1.0], device="rigi"),
    "sparse_bsc_tensor": lambda: torch.sparse_bsc_tensor([0, 1], [0], [[[1.0]]], device="rigi"),
    "to_sparse": lambda: torch.eye(3, device="rigi").to_sparse(),
    "to_sparse_csr": lambda: torch.eye(3, device="rigi").to_sparse_csr(),
    "sparse .to": lambda: torch.eye(3).to_sparse().to("rigi"),
    "csr .to": lambda: torch.eye(3).to_sparse_csr().to("rigi"),
    "empty of a layout": lambda: torch.empty(2, 2, layout=torch.sparse_coo, device="rigi"),
    "quantize_per_tensor": lambda: torch.quantize_per_tensor(torch.ones(3, device="rigi"), 0.1, 0, torch.qint8),
    "quantize_per_channel": lambda: torch.quantize_per_channel(
        torch.ones(2, 3, device="rigi"), torch.ones(2, device="rigi"), torch.zeros(2, dtype=torch.int64, device="rigi"), 0, torch.qint8
    ),
    "quantized .to": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8).to("rigi"),
    "nested_tensor": lambda: torch.nested.nested_tensor([torch.ones(2, device="rigi"), torch.ones(3, device="rigi")]),
    "a list as nested_tensor": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], device="rigi") + 1,
    "nested .to": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]).to("rigi"),
    "nested of a mask": lambda: torch._nested_tensor_from_mask(
        torch.ones(2, 3, 4, device="rigi"), torch.ones(2, 3, dtype=torch.bool, device="rigi")
    ),
    "to_mkldnn": lambda: torch.ones(3, device="rigi").to_mkldnn(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OTHER_LAYOUTS)
def test_only_dense_tensors_of_plain_dtypes(name: str) -> None:
    with pytest.raises((NotImplementedError, RuntimeError), match="only dense tensors") as raised:
        OTHER_LAYOUTS[name]()
    assert len(str(raised.value)) < 400 and "CPU" in str(raised.value)
    assert torch.ones(2, device="rigi").sum().item() == 2


def strided(dtype: torch.dtype, device: str) -> torch.Tensor:
    return torch.zeros(4, 6, dtype=dtype, device=device)[:, ::2]


BF16 = torch.bfloat16
BAD: dict[str, Callable[[str], object]] = {
    "embedding of three dimensions": lambda d: F.embedding(torch.tensor([0], device=d), torch.ones(2, 2, 2, device=d)),
    "embedding of one": lambda d: F.embedding(torch.tensor([0], device=d), torch.ones(2, device=d, dtype=BF16)),
    "embedding by floats": lambda d: F.embedding(torch.tensor([0.5], device=d), torch.ones(2, 2, device=d)),
    "embedding by bytes": lambda d: F.embedding(torch.tensor([0], device=d, dtype=torch.uint8), torch.ones(2, 64, device=d, dtype=BF16)),
    "embedding by small integers": lambda d: F.embedding(torch.tensor([0], device=d, dtype=torch.int16), torch.ones(2, 2, device=d)),
    "mm with a vector": lambda d: torch.mm(torch.ones(2, 64, device=d, dtype=BF16), torch.ones(64, device=d, dtype=BF16)),
    "mm of a vector": lambda d: torch.mm(torch.ones(64, device=d), torch.ones(64, 2, device=d)),
    "mm of other sizes": lambda d: torch.mm(torch.ones(2, 64, device=d, dtype=BF16), torch.ones(2, 32, device=d, dtype=BF16).t()),
    "mm of two dtypes": lambda d: torch.mm(torch.ones(2, 64, device=d, dtype=BF16), torch.ones(64, 2, device=d)),
    "addmm with a vector": lambda d: torch.addmm(torch.ones(2, device=d), torch.ones(2, 2, device=d), torch.ones(2, device=d)),
    "addmm with another bias": lambda d: torch.addmm(
        torch.ones(5, device=d, dtype=BF16), torch.ones(2, 64, device=d, dtype=BF16), torch.ones(3, 64, device=d, dtype=BF16).t()
    ),
    "addmm with a bias of another dtype": lambda d: torch.addmm(
        torch.ones(3, device=d), torch.ones(2, 64, device=d, dtype=BF16), torch.ones(3, 64, device=d, dtype=BF16).t()
    ),
    "addr_ of a number": lambda d: torch.ones((), device=d).addr_(torch.ones(2, device=d), torch.ones(3, device=d)),
    "narrow_copy along no dimension": lambda d: torch.ones(2, 3, device=d).narrow_copy(2, 0, 1),
    "argmax along no dimension": lambda d: torch.ones(2, 3, device=d).argmax(2),
    "argmax of nothing": lambda d: torch.ones(2, 0, device=d).argmax(1),
    "softmax along no dimension": lambda d: torch.softmax(torch.ones(2, 3, device=d), 2),
    "softmax of integers": lambda d: torch.softmax(torch.ones(2, 3, device=d, dtype=torch.int64), -1),
    "add over itself": lambda d: (lambda x: torch.add(x[:-1], 1, out=x[1:]))(torch.arange(5, device=d)),
    "sub over itself": lambda d: (lambda x: torch.sub(x[:-1], x[1:], out=x[1:]))(torch.arange(5, device=d)),
    "mul over itself": lambda d: (lambda x: torch.mul(x[:-1], 2, out=x[1:]))(torch.arange(5, device=d, dtype=torch.int32)),
    "clamp over itself": lambda d: (lambda x: torch.clamp(x[:-1], 0, 1, out=x[1:]))(torch.arange(5, device=d)),
    "clamp to nothing": lambda d: torch.clamp(torch.arange(5, device=d), out=torch.arange(5, device=d)),
    "add into floats": lambda d: torch.add(torch.ones(3, device=d), 1, out=torch.arange(3, device=d)),
    "fill beyond int8": lambda d: torch.zeros(3, device=d, dtype=torch.int8).fill_(300),
    "fill strided beyond int8": lambda d: strided(torch.int8, d).fill_(300),
    "fill beyond int32": lambda d: torch.zeros(3, device=d, dtype=torch.int32).fill_(2**40),
    "fill beyond half": lambda d: torch.zeros(3, device=d, dtype=torch.float16).fill_(1e20),
    "fill strided beyond half": lambda d: strided(torch.float16, d).fill_(1e20),
    "fill strided beyond float": lambda d: strided(torch.float32, d).fill_(1e300),
    "fill with a complex number": lambda d: strided(torch.float32, d).fill_(1j),
    "copy into one place": lambda d: torch.zeros(1, device=d).expand(3).copy_(torch.ones(3, device=d)),
    "copy from the host into one place": lambda d: torch.zeros(1, device=d).expand(3).copy_(torch.ones(3)),
    "copy of another size": lambda d: torch.zeros(3, device=d).copy_(torch.ones(4, device=d)),
    "copy over itself": lambda d: (lambda x: x[1:].copy_(x[:-1]))(torch.arange(5.0, device=d)),
    "resize to less than nothing": lambda d: torch.zeros(3, device=d).resize_(-1),
    "empty of less than nothing": lambda d: torch.empty(-1, device=d),
    "view of another size": lambda d: torch.zeros(3, device=d).view(4),
    "as_strided out of bounds": lambda d: torch.zeros(3, device=d).as_strided((5,), (1,)),
    "unfold beyond": lambda d: torch.zeros(3, device=d).unfold(0, 4, 1),
    "set_ of another dtype": lambda d: torch.zeros(3, device=d).set_(torch.zeros(3, device=d, dtype=torch.int32)),
    "item of many": lambda d: torch.zeros(3, device=d).item(),
    "index by floats": lambda d: torch.zeros(3, device=d)[torch.tensor([0.5], device=d)],
    "index by other shapes": lambda d: torch.zeros(3, 4, device=d)[torch.tensor([0, 1], device=d), torch.tensor([0, 1, 2], device=d)],
    "index by too many": lambda d: torch.zeros(3, device=d)[torch.tensor([0], device=d), torch.tensor([0], device=d)],
    "index_put of another size": lambda d: torch.zeros(3, 4, device=d).index_put_(
        (torch.tensor([0, 1], device=d),), torch.ones(3, 4, device=d)
    ),
    "index_put of another dtype": lambda d: torch.zeros(3, device=d).index_put_(
        (torch.tensor([0], device=d),), torch.ones(1, device=d, dtype=torch.int64)
    ),
    "attention of two dtypes": lambda d: F.scaled_dot_product_attention(
        torch.ones(1, 1, 2, 8, device=d), torch.ones(1, 1, 2, 8, device=d, dtype=BF16), torch.ones(1, 1, 2, 8, device=d)
    ),
    "convolution of other channels": lambda d: F.conv2d(torch.ones(1, 3, 4, 4, device=d), torch.ones(2, 2, 3, 3, device=d)),
    "LSTM cell of other sizes": lambda d: torch.nn.LSTMCell(3, 4).to(d)(torch.ones(2, 5, device=d)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_operands_give_the_cpus_error(name: str) -> None:
    outcomes: list[tuple[type[Exception] | None, str]] = []
    for device in ("cpu", "rigi"):
        try:
            BAD[name](device)
            outcomes.append((None, ""))
        except Exception as error:  # the test is about which
            outcomes.append((type(error), str(error).splitlines()[0].replace("rigi:0", "cpu").replace("rigi", "cpu")))
    torch.rigi.synchronize()
    assert outcomes[1] == outcomes[0]
