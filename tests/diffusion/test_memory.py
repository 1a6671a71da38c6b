"""What the weight store does when memory is short, on a computer whose budgets play a small GPU."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import UNetSize
from diffusion.tiny_control import controlnet_weights
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from graphexec.diffusion.controlfiles import open_controlnet
from graphexec.diffusion.encode import encode_feature, encode_prompt
from graphexec.diffusion.faults import OutOfMemory
from graphexec.diffusion.images import empty_latent
from graphexec.diffusion.memory import network_bytes, out_of_memory, streamed, within_memory
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.run import sample
from graphexec.diffusion.types import Clip, Model, Vae

Recipes = tuple[Model, Clip, Vae]
MANY = 1 << 40


def full() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nmore")


class Failing:
    """Computes only from the n-th time on."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise full()
        return f"call {self.calls}"


class Full(TorchFunctionMode):
    """Memory that is full whenever torch's function of a name is called: a number of times, after some that pass."""

    def __init__(self, name: str, failures: int, *, passed: int = 0) -> None:
        super().__init__()
        self.name = name
        self.left = iter([False] * passed + [True] * min(failures, 1000))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ == self.name and next(self.left, False):
            raise full()
        return func(*args, **kwargs or {})


@pytest.fixture
def sizes(recipes: Recipes) -> tuple[int, int, int]:
    """Bytes of UNet, text encoder and VAE."""
    model, clip, vae = recipes
    runtime = Runtime("cpu")
    with runtime.unet(model) as a, runtime.text_encoder(clip.encoders[0]) as b, runtime.vae(vae) as c:
        return network_bytes(a), network_bytes(b), network_bytes(c)


class TestWithinMemory:
    @pytest.mark.parametrize(
        "error",
        [full(), MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes")],
    )
    def test_failed_allocations_are_known(self, error: BaseException) -> None:
        assert out_of_memory(error)

    def test_other_errors_pass(self) -> None:
        def compute() -> str:
            raise RuntimeError("shapes do not fit")

        with pytest.raises(RuntimeError, match="shapes"):
            within_memory(compute, [], "x")

    def test_remedies_are_taken_in_turn_and_those_that_cannot_help_are_passed(self) -> None:
        compute, taken = Failing(1), list[str]()

        def remedy(name: str, then: Callable[[], str] | None) -> Callable[[], Callable[[], str] | None]:
            def take() -> Callable[[], str] | None:
                taken.append(name)
                return then

            return take

        remedies = [remedy("evict", None), remedy("tile", compute), remedy("offload", compute)]
        assert within_memory(compute, remedies, "x") == "call 2"
        assert taken == ["evict", "tile"]

    def test_at_the_end_is_an_error_that_says_what_to_do(self) -> None:
        with pytest.raises(OutOfMemory, match=r"decoding does not fit in memory \(CUDA out of memory.*GiB\); make"):
            within_memory(Failing(9), [lambda: None], "decoding")


class TestStore:
    def test_what_makes_room_waits_on_the_host_with_its_patches(
        self, recipes: Recipes, weights: Path, sizes: tuple[int, int, int]
    ) -> None:
        unet_bytes, _, vae_bytes = sizes
        runtime = Runtime("cpu", budget=unet_bytes + 100, host_budget=MANY)
        patched = recipes[0].patched(weights / "a.safetensors", 1.0)
        with runtime.unet(patched) as unet:
            before = {name: weight.clone() for name, weight in unet.state_dict().items()}
        with runtime.vae(recipes[2]):
            assert (runtime.resident_bytes(), runtime.host_bytes()) == (vae_bytes, unet_bytes)
        with runtime.unet(patched) as again:
            assert again is unet
            assert all(torch.equal(before[name], weight) for name, weight in again.state_dict().items())
            assert (runtime.resident_bytes(), runtime.host_bytes()) == (unet_bytes, vae_bytes)

    def test_the_host_has_a_budget_too(self, recipes: Recipes, sizes: tuple[int, int, int]) -> None:
        unet_bytes, text_bytes, vae_bytes = sizes
        runtime = Runtime("cpu", budget=max(sizes), host_budget=max(text_bytes, vae_bytes))
        with runtime.vae(recipes[2]):
            pass
        with runtime.text_encoder(recipes[1].encoders[0]):
            pass
        assert runtime.host_bytes() in (0, vae_bytes)
        with runtime.unet(recipes[0]):
            assert runtime.host_bytes() <= runtime.host_budget
        assert runtime.resident_bytes() == unet_bytes

    def test_a_network_larger_than_the_device_computes_from_the_host(self, recipes: Recipes) -> None:
        inputs = (torch.randn(1, 4, 8, 8), torch.tensor([5.0]), torch.randn(1, 7, 32))
        with Runtime("cpu").unet(recipes[0]) as unet, torch.no_grad():
            expected = unet(*inputs)
        runtime = Runtime("cpu", budget=100, host_budget=MANY)
        with runtime.unet(recipes[0]) as unet, torch.no_grad():
            assert runtime.resident_bytes() == 0
            assert torch.equal(unet(*inputs), expected)
            assert vars(unet.out[2])["_forward_hooks"]
        assert not vars(unet.out[2])["_forward_hooks"]

    def test_a_network_that_was_moved_halfway_is_read_anew(
        self, recipes: Recipes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(device: torch.device) -> None:
            raise MemoryError("can't allocate memory")

        runtime = Runtime("cpu", host_budget=MANY)
        with runtime.unet(recipes[0]) as unet:
            pass
        monkeypatch.setattr(unet, "to", fail)
        runtime.budget = 100
        with runtime.vae(recipes[2]), runtime.unet(recipes[0]) as again:
            assert again is not unet

    def test_the_loras_of_a_network_on_the_host_are_not_sent_to_the_device(
        self, recipes: Recipes, weights: Path
    ) -> None:
        """The device is one from which no number comes back."""
        model, runtime = recipes[0].patched(weights / "a.safetensors", 1.0), Runtime("cpu", 100, host_budget=MANY)
        runtime.device = torch.device("meta")
        with Runtime("cpu").unet(model) as expected, runtime.unet(model) as unet:
            values = unet.state_dict()
            assert all(torch.equal(values[name], weight) for name, weight in expected.state_dict().items())


class TestLadder:
    def test_what_is_idle_goes_first(self, recipes: Recipes) -> None:
        runtime, compute = Runtime("cpu"), Failing(1)
        with runtime.unet(recipes[0]):
            pass
        with runtime.vae(recipes[2]) as vae:
            assert runtime.within_memory(compute, "decoding", network=vae) == "call 2"
            assert runtime.resident_bytes() == network_bytes(vae)

    def test_then_tiles(self, recipes: Recipes) -> None:
        runtime, compute = Runtime("cpu"), Failing(9)
        with runtime.vae(recipes[2]) as vae:
            assert runtime.within_memory(compute, "decoding", smaller=[lambda: "tiled"], network=vae) == "tiled"
        assert compute.calls == 1

    def test_and_smaller_tiles(self) -> None:
        ways = [Failing(1), Failing(0)]
        assert Runtime("cpu").within_memory(Failing(9), "upscaling", smaller=ways, network=None) == "call 1"

    def test_then_the_network_itself_computes_from_the_host(self, recipes: Recipes) -> None:
        runtime, compute = Runtime("cpu", host_budget=MANY), Failing(1)
        with runtime.unet(recipes[0]) as unet:
            assert runtime.within_memory(compute, "sampling", network=unet) == "call 2"
            assert runtime.resident_bytes() == 0
            assert vars(unet.out[2])["_forward_hooks"]
        with runtime.unet(recipes[0]):
            assert runtime.resident_bytes() == network_bytes(unet)

    def test_without_a_host_apart_nothing_is_left_to_do(self, recipes: Recipes) -> None:
        runtime = Runtime("cpu")
        with runtime.unet(recipes[0]) as unet, pytest.raises(OutOfMemory, match=r"^sampling does not fit"):
            runtime.within_memory(Failing(9), "sampling", network=unet)

    def test_an_inner_ladders_end_is_met_by_the_outer_one(self) -> None:
        def inner() -> str:
            return within_memory(compute, [], "loading")

        compute = Failing(1)
        assert within_memory(inner, [lambda: inner], "sampling") == "call 2"
        with pytest.raises(OutOfMemory, match=r"^loading does not fit"):
            within_memory(lambda: within_memory(Failing(9), [], "loading"), [], "sampling")


class TestGettingReady:
    """Loading, patching and encoding climb down the ladder too."""

    def test_what_is_idle_makes_room_for_loading(self, recipes: Recipes) -> None:
        runtime = Runtime("cpu")
        with runtime.vae(recipes[2]):
            pass
        with Full("to", 1), runtime.unet(recipes[0]) as unet:
            assert runtime.resident_bytes() == network_bytes(unet)

    def test_then_it_is_loaded_to_the_host(self, recipes: Recipes) -> None:
        runtime = Runtime("cpu", host_budget=MANY)
        with Full("to", 2), runtime.unet(recipes[0]) as unet:
            assert runtime.resident_bytes() == 0
            assert vars(unet.out[2])["_forward_hooks"]
        with runtime.unet(recipes[0]):
            assert runtime.resident_bytes() == network_bytes(unet)

    def test_patching_starts_anew_and_gives_the_same_weights(self, recipes: Recipes, weights: Path) -> None:
        patched = recipes[0].patched(weights / "a.safetensors", 1.0)
        with Runtime("cpu").unet(patched) as unet:
            expected = {name: weight.clone() for name, weight in unet.state_dict().items()}
        for failures in range(1, 4):
            runtime = Runtime("cpu", host_budget=MANY)
            with runtime.vae(recipes[2]), Full("copy_", failures, passed=2), runtime.unet(patched) as unet:
                assert all(torch.equal(expected[name], weight) for name, weight in unet.state_dict().items())

    def test_what_never_fits_is_said_with_the_files_name(self, recipes: Recipes) -> None:
        message = r"^loading tiny.safetensors does not fit in memory \(CUDA out of memory"
        with Full("to", MANY), pytest.raises(OutOfMemory, match=message), Runtime("cpu").unet(recipes[0]):
            pass

    def test_controlnets_are_loaded_so_too(self, recipes: Recipes, tmp_path: Path) -> None:
        save_file(controlnet_weights(UNetSize()), tmp_path / "net.safetensors")
        net, runtime = open_controlnet(tmp_path / "net.safetensors"), Runtime("cpu", host_budget=MANY)
        with Full("to", 1), runtime.controlnet(net, recipes[0]):
            assert runtime.resident_bytes() == 0

    def test_prompts_are_encoded_so_too(self, recipes: Recipes) -> None:
        clip = recipes[1]
        expected, runtime = encode_prompt(Runtime("cpu"), clip, "a (tiger:1.5)"), Runtime("cpu", host_budget=MANY)
        with runtime.vae(recipes[2]), runtime.text_encoder(clip.encoders[0]):
            with Full("scaled_dot_product_attention", 1):
                (cond,) = encode_prompt(runtime, clip, "a (tiger:1.5)").conds
                assert torch.equal(cond.embedding, expected.conds[0].embedding)
            with Full("scaled_dot_product_attention", MANY), pytest.raises(OutOfMemory, match=r"^encoding the prompt"):
                encode_feature(runtime, clip, "tiger")


class NoPairs(TorchFunctionMode):
    """Memory that is full whenever attention is of more than one picture; counts how often."""

    met = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ == "scaled_dot_product_attention" and len(args[0]) > 1:
            self.met += 1
            raise full()
        return func(*args, **kwargs or {})


def test_what_did_not_fit_into_one_step_is_not_tried_at_the_next(recipes: Recipes) -> None:
    runtime = Runtime("cpu")
    positive, negative = (encode_prompt(runtime, recipes[1], text) for text in ("a cat", "a dog"))
    runtime.clear()

    def made() -> Tensor:
        return sample(
            runtime, recipes[0], positive, negative, empty_latent(32, 32), seed=1, steps=4, cfg=3.0,
            sampler_name="euler", scheduler="normal",
        ).samples  # fmt: skip

    with NoPairs() as memory:
        apart = made()
    assert memory.met == 1
    torch.testing.assert_close(apart, made(), rtol=1e-4, atol=1e-4)


def test_streamed_layers_are_back_home_even_after_an_error() -> None:
    class Bad(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
            raise ValueError("bad")

    network = nn.Sequential(nn.Linear(2, 2), Bad(2, 2)).requires_grad_(False)
    home = [parameter.data_ptr() for parameter in network.parameters()]
    with streamed(network, torch.device("meta")), pytest.raises((ValueError, RuntimeError, NotImplementedError)):
        network(torch.ones(1, 2, device="meta"))
    assert [parameter.data_ptr() for parameter in network.parameters()] == home


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_precision_is_the_runtimes_or_the_models(recipes: Recipes, precision: str, dtype: torch.dtype) -> None:
    model = recipes[0]
    with Runtime("cpu", precision=precision).unet(model) as unet:  # pyright: ignore[reportArgumentType]
        assert unet.out[2].weight.dtype == dtype
    with Runtime("cpu").unet(replace(model, dtype=precision)) as unet:  # pyright: ignore[reportArgumentType]
        assert unet.out[2].weight.dtype == dtype
