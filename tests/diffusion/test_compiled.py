"""A compiled UNet makes what the UNet makes, whatever became of its weights since it was compiled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from graphexec.diffusion.compiled import Compiled, Compiling
from graphexec.diffusion.faults import CompilingError
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Model, ScalePatch, Vae

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # of its own making
Recipes = tuple[Model, Clip, Vae]
WEAKER = ScalePatch((("to_out.0", 0.5), ("in_layers.2", 0.9)))


def made(runtime: Runtime, model: Model, size: int = 8) -> Tensor:
    """What a model's UNet makes of the same numbers."""
    generator = torch.Generator().manual_seed(size)
    with runtime.unet(model) as unet, torch.inference_mode():
        x = torch.randn(2, 4, size, size, generator=generator)
        steps, context = torch.tensor([500.0, 20.0]), torch.randn(2, 77, 32, generator=generator)
        return runtime.forward(unet, *(part.to(runtime.device) for part in (x, steps, context))).cpu()


def check_equal(compiled: Runtime, recipes: Recipes, tolerance: float, other: int) -> None:
    """With other weights, with the first again, at another size."""
    model, plain = recipes[0], Runtime(str(compiled.device), precision="fp32")
    patched = replace(model, patches=(WEAKER,))
    for recipe, size in ((model, 8), (patched, 8), (model, 8), (patched, other)):
        torch.testing.assert_close(made(compiled, recipe, size), made(plain, recipe, size), rtol=0, atol=tolerance)
    assert not torch.equal(made(compiled, patched), made(compiled, model))


def test_weights_may_be_changed_in_place_or_laid_elsewhere() -> None:
    """On a CPU, where compiling a UNet takes a minute, of a layer alone."""
    layer = torch.nn.Linear(8, 8)
    compiled, x = Compiled(layer, "kernels"), torch.randn(2, 8)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), layer(x))
        layer.weight.mul_(2)
        torch.testing.assert_close(compiled(x), layer(x))
        layer.weight.data = layer.weight.data * 3
        torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
@pytest.mark.parametrize("compiling", ["kernels", "graphs"])
def test_on_a_gpu(recipes: Recipes, compiling: Compiling) -> None:
    check_equal(Runtime("cuda", precision="fp32", compiling=compiling), recipes, 1e-3, other=16)


def test_without_a_compiler_it_is_said_what_is_missing(recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "fx_graph_cache", False)
    torch._dynamo.reset()  # pyright: ignore[reportPrivateUsage]  # what an earlier test compiled
    with pytest.raises(CompilingError, match=r"C\+\+ compiler.*go without --compile"):
        made(Runtime("cpu", compiling="kernels"), recipes[0])
