"""Gradients on the chip are the CPU's: of operators torch composes, of modules, forward-mode and through torch.func."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._pytree import tree_leaves


def gradients(function: Callable[..., object], *operands: Tensor, device: str) -> list[Tensor]:
    """Results of `function` and the gradients of its floating operands, on the CPU."""
    there = [x.detach().to(device).requires_grad_(x.is_floating_point()) for x in operands]
    results = [leaf for leaf in tree_leaves(function(*there)) if isinstance(leaf, Tensor)]
    sum((result * weights(result)).sum() for result in results).backward()  # type: ignore[union-attr]
    assert all(result.device.type == device for result in results)
    return [x.detach().cpu() for x in results] + [x.grad.cpu() for x in there if x.grad is not None]


def weights(result: Tensor) -> Tensor:
    return torch.linspace(-1, 1, result.numel()).view_as(result).to(result.device)


def check(function: Callable[..., object], *operands: Tensor, exact: bool = True) -> None:
    got, want = (gradients(function, *operands, device=device) for device in ("rigi", "cpu"))
    assert len(got) == len(want) > len(operands)
    for one, other in zip(got, want):
        torch.testing.assert_close(one, other, **({"rtol": 0, "atol": 0} if exact else {}))


Q, K, V = torch.randn(3, 2, 4, 5, 8).unbind(0)
ATTENTION: dict[str, Callable[..., Tensor]] = {
    "plain": F.scaled_dot_product_attention,
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.tril(torch.ones(5, 5, dtype=torch.bool, device=q.device))),
    "grouped": lambda q, k, v: F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True),
    "scale": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str) -> None:
    check(ATTENTION[name], Q, K, V)


CONVOLUTIONS: dict[str, Callable[..., Tensor]] = {
    "1d": lambda x, w: F.conv1d(x.flatten(2), w.flatten(2)),
    "2d": F.conv2d,
    "2d strided": lambda x, w: F.conv2d(x, w, stride=2, padding=1, dilation=2),
    "3d": lambda x, w: F.conv3d(x[:, :, None], w[:, :, None]),
    "transposed": lambda x, w: F.conv_transpose2d(x, w.transpose(0, 1), stride=2, output_padding=1),
    "depthwise": lambda x, w: F.conv2d(x, w[:3, :1], groups=3),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    check(CONVOLUTIONS[name], torch.randn(2, 3, 9, 7), torch.randn(4, 3, 3, 2))


def test_convolution_modules_and_their_second_derivatives() -> None:
    for module in (nn.Conv1d(3, 4, 3), nn.Conv2d(3, 4, 3, groups=1, padding="same"), nn.ConvTranspose2d(3, 4, 3)):
        x = torch.randn(2, 3, 8) if isinstance(module, nn.Conv1d) else torch.randn(2, 3, 8, 8)
        names = [name for name, _ in module.named_parameters()]

        def twice(x: Tensor, *values: Tensor, module: nn.Module = module, names: list[str] = names) -> Tensor:
            y = torch.func.functional_call(module, dict(zip(names, values)), (x,))
            (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
            return first

        check(twice, x, *module.parameters(), exact=False)


RECURRENT = {
    "LSTM": lambda: nn.LSTM(5, 6, 2, bidirectional=True),
    "LSTM projected": lambda: nn.LSTM(5, 6, proj_size=3, batch_first=True),
    "LSTM without bias": lambda: nn.LSTM(5, 6, bias=False),
    "GRU": lambda: nn.GRU(5, 6, 2, bidirectional=True),
    "GRU without bias": lambda: nn.GRU(5, 6, bias=False),
    "RNN": lambda: nn.RNN(5, 6, nonlinearity="relu"),
    "LSTMCell": lambda: nn.LSTMCell(5, 6),
    "LSTMCell without bias": lambda: nn.LSTMCell(5, 6, bias=False),
    "GRUCell": lambda: nn.GRUCell(5, 6),
    "RNNCell": lambda: nn.RNNCell(5, 6),
    "encoder layer": lambda: nn.TransformerEncoderLayer(6, 2, 7, dropout=0.0, batch_first=True),
    "decoder": lambda: Decoder(),
    "attention": lambda: SelfAttention(),
}


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(6, 2, 7, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x.flip(0))


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_and_attention_modules(name: str, training: bool) -> None:
    torch.manual_seed(0)
    module = RECURRENT[name]().train(training)
    size = 6 if name in ("encoder layer", "decoder", "attention") else 5
    names = [name for name, _ in module.named_parameters()]

    def call(x: Tensor, *values: Tensor) -> object:
        return torch.func.functional_call(module, dict(zip(names, values)), (x,))

    x = torch.randn(3, size) if name.split()[0].endswith("Cell") else torch.randn(4, 3, size)
    check(call, x, *module.parameters(), exact=False)


def test_recurrent_modules_without_gradients() -> None:
    x = torch.randn(4, 3, 5)
    for module in (nn.LSTM(5, 6), nn.GRU(5, 6)):
        with torch.inference_mode():
            want = module(x)[0]
            torch.testing.assert_close(module.to("rigi")(x.to("rigi"))[0].cpu(), want)


@pytest.mark.filterwarnings("ignore:.*nested tensors")  # the CPU makes one
def test_an_encoder_without_gradients_does_without_nested_tensors() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 7, dropout=0.0, batch_first=True), 2).eval()
    x, padding = torch.randn(2, 4, 6), torch.tensor([[False, False, False, True], [False] * 4])
    with torch.no_grad():
        want = encoder(x, src_key_padding_mask=padding)
        got = encoder.to("rigi")(x.to("rigi"), src_key_padding_mask=padding.to("rigi")).cpu()
    torch.testing.assert_close(got[~padding], want[~padding])


def test_registered_kernels_never_cut_the_gradient() -> None:
    """A kernel of the device below autograd, of an operator that autograd sees through, would end the graph without a word."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    ours = [name for name in torch._C._dispatch_get_registrations_for_dispatch_key("PrivateUse1") if name.startswith("aten::")]
    assert len(ours) > 30
    through = [name for name in ours if has(name, "CompositeImplicitAutograd") and not has(name, "Autograd")]
    through.remove("aten::_has_compatible_shallow_copy_type")  # a question about two tensors, whose answer is a bool
    assert through == []


def test_a_backward_through_an_op_of_the_registry_is_refused() -> None:
    x = torch.ones(2, 64, device="rigi", dtype=torch.bfloat16, requires_grad=True)
    weight = torch.ones(64, device="rigi", dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="rigi::rms_norm is not implemented"):
        torch.ops.rigi.rms_norm(x, weight, 1e-5).sum().backward()


ZEROS: dict[str, Callable[[Tensor], Tensor]] = {
    "added": lambda z: z + torch.ones(2, 3, device=z.device),
    "multiplied": lambda z: z * torch.ones(2, 3, device=z.device),
    "cloned": lambda z: z.clone(),
    "viewed": lambda z: z.t()[1:].unsqueeze(0).expand(4, 2, 2) * 2,
    "copied": lambda z: torch.ones(2, 3, device=z.device).copy_(z),
    "to the CPU": lambda z: z.cpu(),
    "to another dtype": lambda z: z.double(),
    "summed": lambda z: z.sum(0),
    "in a product that is zeros itself": lambda z: z[0] @ torch.ones(3, device=z.device),
}


@pytest.mark.parametrize("name", ZEROS)
def test_zeros_without_memory(name: str) -> None:
    got, want = (ZEROS[name](torch._efficientzerotensor((2, 3), device=device)) for device in ("rigi", "cpu"))
    assert torch.equal(got.cpu(), want + 0) and got.dtype == want.dtype


def test_the_derivative_of_a_step_is_zero() -> None:
    for function in (torch.sgn, torch.sign, torch.round, torch.floor, torch.trunc):
        x = torch.randn(5, device="rigi", requires_grad=True)
        function(x).sum().backward()
        assert x.grad is not None and x.grad.cpu().eq(0).all()


def test_forward_mode() -> None:
    primal, tangent = torch.randn(2, 3, 4).unbind(0)
    for function in (lambda x: x * 2, lambda x: x.sin() * x, lambda x: x @ x.t(), lambda x: F.softmax(x, -1).sum(0), torch.sgn):
        results = []
        for device in ("rigi", "cpu"):
            with forward_ad.dual_level():
                results.append(forward_ad.unpack_dual(function(forward_ad.make_dual(primal.to(device), tangent.to(device)))))
        got, want = results
        assert got.tangent.device.type == "rigi"
        torch.testing.assert_close([x.cpu() for x in got], [x + 0 for x in want])


TRANSFORMS: dict[str, Callable[[Tensor], object]] = {
    "hessian": lambda x: torch.func.hessian(lambda x: (x**3).sum())(x),
    "jacfwd": lambda x: torch.func.jacfwd(lambda x: x.sin() * x.sum())(x),
    "jacrev": lambda x: torch.func.jacrev(lambda x: x.sin() * x.sum())(x),
    "vmap of grad": lambda x: torch.func.vmap(torch.func.grad(lambda x: x.exp().prod()))(x.expand(3, *x.shape)),
    "jvp": lambda x: torch.func.jvp(lambda x: x.cos(), (x,), (x,)),
    "vjp": lambda x: torch.func.vjp(lambda x: x.cos(), x)[1](x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_function_transforms(name: str) -> None:
    x = torch.randn(4)
    got, want = (tree_leaves(TRANSFORMS[name](x.to(device))) for device in ("rigi", "cpu"))
    torch.testing.assert_close([leaf.cpu() for leaf in got], want)
