"""A module that moves keeps its Parameters, as it does for CUDA: what holds one of them (an optimizer, a second module) goes on with it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from torch import nn

R = "rigi"


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(5, 3)


@pytest.fixture(params=["swap", "overwrite"])
def future(request: pytest.FixtureRequest) -> Iterator[str]:
    """torch's two announced ways to move, one of them switched on."""
    setter: Callable[[bool], None] = getattr(torch.__future__, f"set_{request.param}_module_params_on_conversion")
    setter(True)
    yield request.param
    setter(False)


MOVES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "to the chip": lambda m: m.to(R),
    "by its method": lambda m: m.rigi(),
    "there and back": lambda m: m.to(R).to("cpu"),
    "with a dtype": lambda m: m.to(R, torch.bfloat16),
    "the dtype on the chip": lambda m: m.to(R).bfloat16().float(),
    "without waiting": lambda m: m.to(R, non_blocking=True),
    "without contents": lambda m: m.to_empty(device=R),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_a_move_keeps_the_parameters_and_their_flags(move: Callable[[nn.Module], nn.Module], layer: nn.Linear) -> None:
    layer.bias.requires_grad_(False)
    before = dict(layer.named_parameters())
    assert move(layer) is layer
    assert all(layer.get_parameter(name) is parameter for name, parameter in before.items())
    assert (layer.weight.requires_grad, layer.bias.requires_grad) == (True, False) and layer.weight.is_leaf


@pytest.mark.parametrize("start, end", [("cpu", R), (R, "cpu")])
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimizer_made_before_the_move_trains_the_module(make: type[torch.optim.Optimizer], start: str, end: str) -> None:
    torch.manual_seed(1)
    chip, x = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3)), torch.randn(4, 7)
    cpu = copy.deepcopy(chip)
    results = []
    for module, device in ((cpu, "cpu"), (chip.to(start), end)):
        optimizer = make(module.parameters(), lr=0.1)
        module.to(device)
        for _ in range(3):
            optimizer.zero_grad()
            module(x.to(device)).square().mean().backward()
            optimizer.step()
        results.append([parameter.detach().cpu() for parameter in module.parameters()])
    torch.testing.assert_close(results[1], results[0])


def test_gradients_move_with_their_parameters(layer: nn.Linear) -> None:
    layer(torch.ones(2, 5)).sum().backward()
    assert layer.weight.grad is not None
    expected, held = layer.weight.grad.clone(), layer.weight.grad
    layer.to(R)
    assert layer.weight.grad is held and held.device.type == R
    layer(torch.ones(2, 5, device=R)).sum().backward()
    assert torch.equal(held.cpu(), 2 * expected), "gradients go on adding up in the same tensor"


def test_tied_weights_stay_tied_and_take_their_memory_once() -> None:
    a, b = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
    b.weight = a.weight
    before = torch.rigi.memory_allocated()
    module = nn.Sequential(a, b).to(R)
    assert module[0].weight is module[1].weight
    assert torch.rigi.memory_allocated() - before == 64 * 64 * 4
    module(torch.ones(1, 64, device=R)).sum().backward()
    assert len(list(module.parameters())) == 1 and module[1].weight.grad is not None


@pytest.mark.parametrize("make, shape", [(lambda: nn.LazyLinear(4), (2, 3)), (lambda: nn.LazyConv2d(4, 3), (2, 3, 5, 5))])
def test_lazy_modules_find_their_sizes_on_the_chip(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    module = make().to(R)
    assert module.has_uninitialized_params()
    y = module(torch.ones(shape, device=R))
    assert (y.shape[1], y.device.type, module.weight.shape[1], module.weight.device.type) == (4, R, 3, R)
    with torch.no_grad():
        torch.testing.assert_close(y.cpu(), copy.deepcopy(module).to("cpu")(torch.ones(shape)))


@pytest.mark.parametrize(
    "wrap",
    [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.orthogonal],
    ids=["weight_norm hook", "weight_norm", "spectral_norm hook", "orthogonal"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_reparametrized_modules_move(wrap: Callable[[nn.Module], nn.Module], layer: nn.Linear) -> None:
    module = wrap(layer).eval()
    x, before = torch.randn(4, 5), list(module.parameters())
    expected = module(x)
    module.to(R)
    assert [a is b for a, b in zip(module.parameters(), before, strict=True)] == [True] * len(before)
    torch.testing.assert_close(module(x.to(R)).cpu(), expected)
    module(x.to(R)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.device.type == R for parameter in before)


def test_buffers_move_and_stay_what_they_are() -> None:
    module = nn.BatchNorm1d(3).to(R)
    assert {b.device.type for b in module.buffers()} == {R} and module.num_batches_tracked.dtype == torch.int64
    module(torch.arange(6.0, device=R).reshape(2, 3))
    assert module.num_batches_tracked.item() == 1 and module.running_mean.tolist() == pytest.approx([0.15, 0.25, 0.35])


def test_loading_a_state_keeps_the_parameters_unless_they_are_to_be_assigned(layer: nn.Linear) -> None:
    held, state = layer.to(R).weight, nn.Linear(5, 3).state_dict()
    layer.load_state_dict(state)
    assert layer.weight is held and torch.equal(held.cpu(), state["weight"])
    layer.load_state_dict(state, assign=True)
    assert layer.weight is not held and layer.weight.device.type == "cpu"
    nn.Module.load_state_dict(layer, {key: value.to(R) for key, value in state.items()}, assign=True)
    assert layer.weight.device.type == R and torch.equal(layer.weight.cpu(), state["weight"])


def test_a_copy_is_a_module_of_its_own(layer: nn.Linear) -> None:
    layer.to(R)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.weight.zero_()
    assert other.weight.device.type == R and layer.weight.abs().sum().item() > 0


def test_a_module_on_meta_becomes_real_as_it_does_for_cuda(layer: nn.Linear) -> None:
    with torch.device("meta"):
        module = nn.Linear(5, 3)
    module.to_empty(device=R).load_state_dict(layer.state_dict())
    assert torch.equal(module.weight.cpu(), layer.weight) and module.weight.requires_grad


def test_the_announced_ways_to_move(future: str, layer: nn.Linear) -> None:
    before, expected = layer.weight, layer.weight.detach().clone()
    layer.to(R)
    assert (layer.weight is before) == (future == "swap")
    assert layer.weight.device.type == R and torch.equal(layer.weight.cpu(), expected)


def test_data_may_be_set_across_devices_but_not_across_layouts() -> None:
    dense, chip, sparse = torch.ones(2, 2), torch.zeros(2, 2, device=R), torch.eye(2).to_sparse()
    compatible = torch._has_compatible_shallow_copy_type
    for a, b in pairwise([dense, chip, dense]):
        assert compatible(a, b)
    assert not compatible(chip, sparse) and not compatible(sparse, chip) and not compatible(chip, torch.ones(2, 2, device="meta"))
    with pytest.raises(RuntimeError, match="incompatible tensor type"):
        chip.data = sparse
    held = torch.ones(3, requires_grad=True)
    held.data = torch.full((2, 2), 3.0, device=R)
    held.sum().backward()
    assert held.grad is not None and held.grad.device.type == R and held.grad.shape == (2, 2)


def test_shared_memory_is_the_hosts() -> None:
    module = nn.Linear(2, 2).share_memory()
    assert module.weight.is_shared() and module.to(R).weight.device.type == R
