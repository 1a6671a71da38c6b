"""Each kind of adapter, on linears and convolutions: its gradients, and that its file means what was trained."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lora.oracles import acting_weight, layer_of
from torch import Tensor, nn
from train.network.bases import read_changed

from graphexec.train.config import Network
from graphexec.train.faults import TrainingError
from graphexec.train.network.base import Layer, TrainedAdapter
from graphexec.train.network.dropout import Dropout, Moment, Rates
from graphexec.train.network.kinds import make_adapter
from graphexec.train.network.lokr import factorized
from graphexec.train.network.ranks import Ranked
from graphexec.train.network.targets import Target

NAME = "lora_unet_m"
LAYERS = ("linear", "square", "conv", "point")
CONFIGS = {
    "lora": Network("lora", rank=3, alpha=2),
    "loha": Network("loha", rank=2, alpha=1),
    "lokr": Network("lokr", rank=1, alpha=0.5, lokr_factor=2),
    "lokr whole": Network("lokr", rank=64, alpha=1),
    "dora": Network("lora", rank=3, alpha=2, decompose=True),
    "dora loha": Network("loha", rank=2, alpha=1, decompose=True),
    "dora lokr": Network("lokr", rank=1, alpha=1, lokr_factor=2, decompose=True),
}
kinds = pytest.mark.parametrize("kind", CONFIGS)
layers = pytest.mark.parametrize("layer", LAYERS)


def make(config: Network, layer: Layer, rates: Rates | None = None) -> TrainedAdapter:
    """An adapter with other than its first values."""
    ranked = Ranked(Target(NAME, "m", layer), config.rank, config.alpha)
    adapter = make_adapter(config, ranked, Dropout(rates or Rates(), Moment(3), NAME))
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return adapter


def frozen(kind: str) -> Layer:
    return cast("Layer", layer_of(kind).requires_grad_(False))


def inputs(layer: Layer) -> Tensor:
    columns = layer.weight.shape[1]
    shape = (2, 5, columns) if isinstance(layer, nn.Linear) else (2, columns, 5, 6)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(layer.weight.dtype)


@contextmanager
def hooked(layer: Layer, adapter: TrainedAdapter) -> Generator[None]:
    handle = layer.register_forward_hook(lambda module, args, out: adapter(module, args[0], out))
    with torch.no_grad():
        yield
    handle.remove()


@kinds
@layers
def test_gradients_are_those_of_finite_differences(kind: str, layer: str) -> None:
    base = frozen(layer).double()
    adapter = make(CONFIGS[kind], base).double()
    x = inputs(base).requires_grad_()
    probe = torch.randn(base(x).shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def loss() -> Tensor:
        return (adapter(base, x, base(x)) * probe).sum()

    for tensor in (x, *adapter.parameters()):
        (gradient,) = torch.autograd.grad(loss(), tensor)
        assert gradient.abs().max() > 1e-3
        direction = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        torch.testing.assert_close(
            (gradient * direction).sum(), central_difference(loss, tensor, direction), rtol=1e-6, atol=1e-6
        )


def central_difference(value: Callable[[], Tensor], tensor: Tensor, direction: Tensor, step: float = 1e-5) -> Tensor:
    found: list[Tensor] = []
    with torch.no_grad():
        for sign in (1, -2, 1):
            tensor.add_(direction, alpha=sign * step)
            found.append(value())
    return (found[0] - found[1]) / (2 * step)


@kinds
@layers
def test_a_file_means_what_was_trained(kind: str, layer: str) -> None:
    base = frozen(layer)
    adapter = make(CONFIGS[kind], base)
    tensors = {f"{NAME}.{part}": tensor for part, tensor in adapter.tensors().items()}
    expected = read_changed(tensors, NAME, base)
    with hooked(base, adapter):
        torch.testing.assert_close(acting_weight(base, base)["weight"], expected, rtol=1e-4, atol=2e-5)
    assert not torch.allclose(expected, base.weight, atol=1e-2)


@kinds
@layers
def test_an_adapter_begins_with_no_change(kind: str, layer: str) -> None:
    base, config = frozen(layer), CONFIGS[kind]
    ranked = Ranked(Target(NAME, "m", base), config.rank, config.alpha)
    adapter = make_adapter(config, ranked, Dropout(Rates(), Moment(3), NAME))
    x = inputs(base)
    torch.testing.assert_close(adapter(base, x, base(x)), base(x), rtol=1e-6, atol=1e-6)
    assert sum(bool(factor.any()) for factor in adapter.factors().values()) == len(adapter.factors()) - 1


@kinds
def test_taken_over_and_scaled(kind: str) -> None:
    base = frozen("conv")
    adapter, other = make(CONFIGS[kind], base), make(CONFIGS[kind], base)
    torch.testing.assert_close(adapter.norm(), adapter.delta().norm())
    delta = adapter.delta()
    other.scale_by(torch.tensor(0.25))
    torch.testing.assert_close(other.delta(), delta / 4)
    other.load(adapter.tensors())
    assert torch.equal(other.delta(), delta)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["lora", "lokr", "dora"])
def test_half_precision_is_that_of_the_base(kind: str, dtype: torch.dtype) -> None:
    base = frozen("linear")
    adapter = make(CONFIGS[kind], base)
    x = inputs(base)
    exact = adapter(base, x, base(x))
    half, small = frozen("linear").to(dtype), x.to(dtype)
    out = adapter(half, small, half(small))
    assert out.dtype == dtype
    assert all(parameter.dtype == torch.float32 for parameter in adapter.parameters())
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        cast_out = adapter(base, x, base(x))
    assert cast_out.dtype == torch.bfloat16
    torch.testing.assert_close(cast_out.float(), exact, rtol=0.05, atol=0.1)


def test_an_alpha_of_zero_scales_nothing() -> None:
    base = frozen("linear")
    none, same = make(Network(rank=3, alpha=0), base), make(Network(rank=3, alpha=3), base)
    assert torch.equal(none.delta(), same.delta())
    assert none.tensors()["alpha"] == 3


@given(st.integers(1, 5000), st.sampled_from([-1, 1, 2, 3, 4, 8, 16]))
def test_factors_of_a_dimension(dimension: int, factor: int) -> None:
    small, large = factorized(dimension, factor)
    assert small * large == dimension
    assert small <= large
    assert factor < 0 or small <= max(factor, 1)


LYCORIS = {
    "lora": ("locon.LoConModule", {}),
    "loha": ("loha.LohaModule", {}),
    "lokr": ("lokr.LokrModule", {"factor": 2}),
    "lokr whole": ("lokr.LokrModule", {"factor": -1}),
    "dora": ("locon.LoConModule", {"weight_decompose": True}),
    "dora loha": ("loha.LohaModule", {"weight_decompose": True}),
}


@pytest.mark.parametrize("kind", LYCORIS)
@layers
def test_lycoris_has_the_same_tensors_and_does_the_same_with_them(kind: str, layer: str) -> None:
    if importlib.util.find_spec("lycoris") is None:
        pytest.skip("lycoris is not installed; pip install 'graphexec[oracles]'")
    config, base = CONFIGS[kind], frozen(layer)
    adapter = make(config, base)
    tensors = adapter.tensors()
    with hooked(base, adapter):
        expected = acting_weight(base, base)["weight"]
    where, options = LYCORIS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        file, cls = where.split(".")
        module: Any = getattr(import_module(f"lycoris.modules.{file}"), cls)(
            NAME, base, 1.0, config.rank, config.alpha, **options
        )
    state = module.state_dict()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {name: t.shape for name, t in state.items()}
    assert float(state["alpha"]) == float(tensors["alpha"])
    module.load_state_dict(tensors)
    module.apply_to()
    with torch.no_grad():
        torch.testing.assert_close(acting_weight(base, base)["weight"], expected, rtol=1e-4, atol=2e-5)


def test_dropout_is_that_of_step_and_seed() -> None:
    base = frozen("linear")
    x = inputs(base)
    adapter = make(CONFIGS["lora"], base, Rates(neuron=0.3, rank=0.3))
    first, again = adapter(base, x, base(x)), adapter(base, x, base(x))
    adapter.dropout.moment.step = 1
    later = adapter(base, x, base(x))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    adapter.eval()
    torch.testing.assert_close(adapter(base, x, base(x)), make(CONFIGS["lora"], base)(base, x, base(x)))


@pytest.mark.parametrize(("kind", "rates"), [("lora", Rates(0.25, 0.25)), ("loha", Rates(rank=0.4))])
def test_dropout_changes_nothing_on_average(kind: str, rates: Rates) -> None:
    base = frozen("conv")
    adapter = make(CONFIGS[kind], base, rates)
    x = inputs(base)
    expected = make(CONFIGS[kind], base)(base, x, base(x)) - base(x)
    outs: list[Tensor] = []
    for step in range(400):
        adapter.dropout.moment.step = step
        outs.append(adapter(base, x, base(x)).detach() - base(x))
    error = (torch.stack(outs).mean(0) - expected).square().mean().sqrt()
    assert error < 0.1 * expected.square().mean().sqrt()


def test_rank_dropout_is_by_sample_and_rank() -> None:
    dropout = Dropout(Rates(rank=0.5), Moment(0), NAME)
    kept = dropout.ranks(torch.ones(8, 6, 4), -1)
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(kept[0], kept[1])


def test_module_dropout_leaves_whole_modules_out() -> None:
    base = frozen("linear")
    adapter = make(CONFIGS["dora"], base, Rates(module=0.3))
    x = inputs(base)
    skipped = 0
    for step in range(200):
        adapter.dropout.moment.step = step
        skipped += torch.equal(adapter(base, x, base(x)), base(x))
    assert 35 < skipped < 85


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(TrainingError, match="rank_dropout is a probability"):
        Rates(rank=rate)


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_dropout_that_a_kind_does_not_have_is_refused(kind: str) -> None:
    with pytest.raises(TrainingError, match="use rank_dropout"):
        make(CONFIGS[kind], frozen("linear"), Rates(neuron=0.1))
