# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import gc
import shutil
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import UNET, checkpoint_weights, lora_weights, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.faults import MissingDevice
from graphexec.diffusion.loras import load_lora
from graphexec.diffusion.patch import Patching
from graphexec.diffusion.pristine import Pristine, opened
from graphexec.diffusion.runtime import Runtime, network_bytes
from graphexec.diffusion.sources import LoraModel
from graphexec.diffusion.types import Clip, Model, Vae
from graphexec.errors import Cancelled, ModelFileError

Recipes = tuple[Model, Clip, Vae]
Q = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


def weights_of(runtime: Runtime, model: Model) -> dict[str, Tensor]:
    with runtime.unet(model) as unet:
        return {name: weight.clone() for name, weight in unet.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stacked(model: Model, folder: Path, stack: Sequence[tuple[str, float]]) -> Model:
    for name, strength in stack:
        model = model.patched(folder / f"{name}.safetensors", strength)
    return model


stacks = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([-1.0, 0.3, 0.8, 1.0])), max_size=4)


@settings(max_examples=15)
@given(history=st.lists(stacks, max_size=3), wanted=stacks)
def test_any_way_to_a_recipe_gives_the_weights_of_a_fresh_load(
    weights: Path, recipes: Recipes, history: list[list[tuple[str, float]]], wanted: list[tuple[str, float]]
) -> None:
    used = Runtime("cpu")
    for stack in history:
        with used.unet(stacked(recipes[0], weights, stack)):
            pass
    model = stacked(recipes[0], weights, wanted)
    assert same(weights_of(used, model), weights_of(Runtime("cpu"), model))


def test_the_base_is_what_the_file_holds(runtime: Runtime, recipes: Recipes, weights: Path) -> None:
    file = load_file(weights / "tiny.safetensors")
    for name, weight in weights_of(runtime, recipes[0]).items():
        assert torch.equal(weight, file[UNET + name].float())


def test_a_stack_is_the_base_and_the_sum_of_its_deltas(runtime: Runtime, recipes: Recipes, weights: Path) -> None:
    stack = [("a", 0.5), ("b", -1.0), ("a", 2.0)]
    patched = weights_of(runtime, stacked(recipes[0], weights, stack))
    expected = weights_of(runtime, recipes[0])[f"{Q}.weight"]
    for name, strength in stack:
        lora = load_file(weights / f"{name}.safetensors")
        up, down = lora[f"{KOHYA}.lora_up.weight"], lora[f"{KOHYA}.lora_down.weight"]
        expected = expected + strength * float(lora[f"{KOHYA}.alpha"]) / len(down) * up @ down
    torch.testing.assert_close(patched[f"{Q}.weight"], expected)


def test_only_layers_that_differ_are_touched(recipes: Recipes, weights: Path) -> None:
    runtime = Runtime("cpu")
    with runtime.unet(recipes[0]) as unet:
        before = {name: weight.clone() for name, weight in unet.named_parameters()}
    with runtime.unet(stacked(recipes[0], weights, [("c", 1.0)])) as unet:
        touched = {name for name, weight in unet.named_parameters() if not torch.equal(weight, before[name])}
    assert touched
    assert all("layers" in name or "skip_connection" in name for name in touched)


def test_networks_are_kept_and_shared_between_recipes(recipes: Recipes, weights: Path) -> None:
    runtime = Runtime("cpu")
    with runtime.unet(recipes[0]) as first, runtime.unet(stacked(recipes[0], weights, [("a", 1.0)])) as second:
        assert first is second
    assert runtime.resident_bytes() == network_bytes(first)
    runtime.clear()
    assert runtime.resident_bytes() == 0


def test_what_was_used_longest_ago_makes_room(recipes: Recipes) -> None:
    model, clip, vae = recipes
    sizes = Runtime("cpu")
    with sizes.text_encoder(clip.encoders[0]) as text, sizes.unet(model) as unet:
        runtime = Runtime("cpu", budget=network_bytes(text) + network_bytes(unet) + 100)
    with runtime.text_encoder(clip.encoders[0]) as text, runtime.vae(vae) as autoencoder:
        pass
    with runtime.text_encoder(clip.encoders[0]) as again:
        assert again is text
    with runtime.unet(model) as unet:
        assert runtime.resident_bytes() == network_bytes(text) + network_bytes(unet)
    with runtime.vae(vae) as another:
        assert another is not autoencoder


def test_a_network_beyond_the_budget_is_held_alone(recipes: Recipes) -> None:
    runtime = Runtime("cpu", budget=0)
    with runtime.vae(recipes[2]):
        pass
    with runtime.unet(recipes[0]) as unet:
        assert runtime.resident_bytes() == network_bytes(unet)
    assert Runtime("cpu").budget > 0


def test_a_network_in_use_stays_whatever_the_budget(recipes: Recipes) -> None:
    runtime = Runtime("cpu", budget=0)
    with runtime.vae(recipes[2]) as vae, runtime.unet(recipes[0]) as unet:
        assert runtime.resident_bytes() == network_bytes(vae) + network_bytes(unet)


def test_a_file_is_let_go_of_with_the_network_that_was_read_from_it(tmp_path: Path) -> None:
    model, _, vae = open_checkpoint(write_checkpoint(tmp_path / "x.safetensors"))
    runtime = Runtime("cpu", budget=0)
    with runtime.vae(vae):
        pass
    with runtime.unet(model):
        pass
    everything = [each for each in gc.get_objects() if type(each) is Pristine]
    assert [each.source.prefix for each in everything if each.source.file == model.file] == [model.prefix]


def test_float32_files_are_used_where_they_lie_and_stay_pristine(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({name: tensor.float() for name, tensor in checkpoint_weights().items()}, path)
    save_file(lora_weights(), tmp_path / "l.safetensors")
    before = path.read_bytes()
    model, runtime = open_checkpoint(path)[0], Runtime("cpu")
    base = weights_of(runtime, model)
    assert not same(base, weights_of(runtime, model.patched(tmp_path / "l.safetensors", 1.0)))
    assert same(base, weights_of(runtime, model))
    assert path.read_bytes() == before


def test_a_checkpoint_that_changed_is_refused(tmp_path: Path) -> None:
    model = open_checkpoint(write_checkpoint(tmp_path / "x.safetensors"))[0]
    runtime = Runtime("cpu")
    with runtime.unet(model):
        pass
    write_checkpoint(tmp_path / "y.safetensors", seed=1)
    (tmp_path / "y.safetensors").replace(model.file.path)
    with pytest.raises(ModelFileError, match=r"x\.safetensors.*changed"), runtime.unet(model):
        pass


def test_a_lora_that_changed_is_refused_and_the_next_recipe_is_right(
    tmp_path: Path, recipes: Recipes, weights: Path
) -> None:
    lora = Path(shutil.copy(weights / "a.safetensors", tmp_path / "l.safetensors"))
    model, runtime = recipes[0].patched(lora, 1.0), Runtime("cpu")
    lora.unlink()
    with pytest.raises(ModelFileError, match=r"l\.safetensors.*removed"), runtime.unet(model):
        pass
    assert same(weights_of(runtime, recipes[0]), weights_of(Runtime("cpu"), recipes[0]))


def test_a_lora_for_another_width_is_refused(tmp_path: Path, recipes: Recipes) -> None:
    save_file(
        {f"{KOHYA}.lora_up.weight": torch.zeros(64, 2), f"{KOHYA}.lora_down.weight": torch.zeros(2, 64)}, tmp_path / "l"
    )
    with pytest.raises(ModelFileError, match=r"64 x 64.*32 x 32"):
        load_lora(recipes[0], recipes[1], tmp_path / "l", 1.0, 1.0)


def test_a_lora_for_one_of_two_text_encoders_leaves_the_other_alone(tmp_path: Path, runtime: Runtime) -> None:
    clip = open_checkpoint(write_checkpoint(tmp_path / "x.safetensors", family="sdxl"))[1]
    q = "encoder.layers.0.self_attn.q_proj"
    parts = {"lora_A": torch.ones(2, 32), "lora_B": torch.ones(32, 2)}
    save_file({f"text_encoder.text_model.{q}.{part}.weight": t for part, t in parts.items()}, tmp_path / "l")
    loaded = load_lora(None, clip, tmp_path / "l", 1.0, 1.0)
    assert loaded.clip is not None
    assert not loaded.coverage.warnings()
    for encoder, difference in zip(clip.encoders, (2.0, 0.0), strict=True):
        with runtime.text_encoder(encoder) as text:
            before = text.get_parameter(f"{q}.weight").clone()
        with runtime.text_encoder(encoder, loaded.clip.patches) as text:
            changed = text.get_parameter(f"{q}.weight") - before
        torch.testing.assert_close(changed, torch.full_like(changed, difference), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("time_embed.2.bias", "lacks 1 weights.*time_embed"),
        ("out.0.weight", "wrong shape of 1 weights.*out"),
    ],
)
def test_weights_that_are_not_those_of_the_network_are_refused(tmp_path: Path, change: str, says: str) -> None:
    tensors = checkpoint_weights()
    if change == "out.0.weight":
        tensors[UNET + change] = torch.zeros(7)
    else:
        del tensors[UNET + change]
    save_file(tensors, tmp_path / "x")
    with pytest.raises(ModelFileError, match=says), Runtime("cpu").unet(open_checkpoint(tmp_path / "x")[0]):
        pass


def test_what_is_no_part_of_a_network_is_told_when_its_file_is_read(tmp_path: Path) -> None:
    strange = {UNET + f"strange.{i}.weight": torch.zeros(7) for i in range(4)}
    save_file(checkpoint_weights() | strange, tmp_path / "x")
    told, runtime = list[str](), Runtime("cpu")
    for _ in range(2):
        with runtime.unet(open_checkpoint(tmp_path / "x")[0], warn=told.append):
            pass
    listed = "strange.0.weight, strange.1.weight, strange.2.weight, …"
    assert told == [f"{tmp_path / 'x'}: 4 tensors are no part of a network that is known, and are left out: {listed}"]


def test_load_lora_gives_recipes_and_coverage(recipes: Recipes, weights: Path) -> None:
    model, clip, _ = recipes
    loaded = load_lora(model, clip, weights / "a.safetensors", 0.5, 0.0)
    assert loaded.model == model.patched(weights / "a.safetensors", 0.5)
    assert loaded.clip is clip
    assert not loaded.coverage.warnings()
    assert load_lora(model, None, weights / "a.safetensors", 1.0, 1.0).clip is None


def test_block_weights_change_only_their_blocks(runtime: Runtime, recipes: Recipes, weights: Path) -> None:
    blocks = (("input_blocks", 0.0), ("output_blocks", 0.5))
    loaded = load_lora(recipes[0], None, weights / "a.safetensors", 0.8, 0.0, blocks)
    assert loaded.model is not None
    base, ours = weights_of(runtime, recipes[0]), weights_of(runtime, loaded.model)
    half, whole = (weights_of(runtime, recipes[0].patched(weights / "a.safetensors", s)) for s in (0.4, 0.8))
    for name, weight in ours.items():
        expected = base if name.startswith("input_blocks.") else half if name.startswith("output_blocks.") else whole
        assert torch.equal(weight, expected[name])


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, recipes: Recipes) -> None:
    parts = {f"{KOHYA}.lora_up.weight": torch.full((32, 2), torch.nan), f"{KOHYA}.lora_down.weight": torch.ones(2, 32)}
    save_file(parts, tmp_path / "l")
    with (
        pytest.raises(ModelFileError, match=r"lora_up\.weight.*NaN"),
        Runtime("cpu").unet(recipes[0].patched(tmp_path / "l", 1)),
    ):
        pass


def test_load_lora_names_the_file(recipes: Recipes, weights: Path) -> None:
    with pytest.raises(ModelFileError, match=r"tiny\.safetensors: this is no LoRA"):
        load_lora(recipes[0], None, weights / "tiny.safetensors", 1.0, 1.0)


def test_a_lora_for_the_text_encoder_alone_is_refused_where_there_is_none(tmp_path: Path, recipes: Recipes) -> None:
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    save_file(
        {f"{name}.lora_up.weight": torch.ones(8, 2), f"{name}.lora_down.weight": torch.ones(2, 8)}, tmp_path / "l"
    )
    with pytest.raises(ModelFileError, match=r"l: this LoRA changes nothing here.*leaves alone; LoraLoader"):
        load_lora(recipes[0], None, tmp_path / "l", 1.0, 1.0)


def test_a_lora_that_lies_in_memory_leaves_it_with_the_last_recipe_that_names_it(recipes: Recipes) -> None:
    runtime, lora = Runtime("cpu"), LoraModel(save(lora_weights()))
    loaded = load_lora(recipes[0], recipes[1], lora, 1.0, 1.0)
    assert loaded.model is not None
    base = weights_of(runtime, recipes[0])
    assert not same(base, weights_of(runtime, loaded.model))
    assert same(base, weights_of(runtime, recipes[0]))
    gone = weakref.ref(lora)
    del lora, loaded
    assert gone() is None


def test_what_is_known_of_a_lora_goes_with_its_recipes_and_with_the_networks(recipes: Recipes, weights: Path) -> None:
    patching, model = Patching(), stacked(recipes[0], weights, [("a", 1.0)])
    network = opened(model)[""]
    assert patching.steps(model.patches, network, lambda other: None)
    (matches,) = patching.matched.values()
    del network
    assert not matches
    del model
    assert not patching.matched


def test_who_waits_for_a_turn_can_be_stopped(recipes: Recipes) -> None:
    runtime, asked = Runtime("cpu"), list[str]()

    def stop() -> None:
        asked.append("stop")
        raise Cancelled("enough")

    def wait() -> None:
        with pytest.raises(Cancelled), runtime.heeding(stop).unet(recipes[0]):
            raise AssertionError("its turn came, though another has it")

    with runtime.unet(recipes[0]) as unet, ThreadPoolExecutor(1) as pool:
        pool.submit(wait).result(timeout=60)
    assert asked == ["stop"]
    with runtime.heeding(stop).unet(recipes[0]) as again:
        assert again is unet
    runtime.clear()
    assert runtime.heeding(stop).resident_bytes() == 0


def test_threads_take_turns(recipes: Recipes, weights: Path) -> None:
    runtime, results = Runtime("cpu"), dict[str, Tensor]()

    def use(name: str) -> None:
        for _ in range(5):
            results[name] = weights_of(runtime, stacked(recipes[0], weights, [(name, 1.0)]))[f"{Q}.weight"]

    threads = [threading.Thread(target=use, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "ab":
        alone = weights_of(Runtime("cpu"), stacked(recipes[0], weights, [(name, 1.0)]))
        assert torch.equal(results[name], alone[f"{Q}.weight"])


def test_the_text_encoder_is_patched_too(runtime: Runtime, recipes: Recipes, weights: Path) -> None:
    clip = recipes[1]
    with runtime.text_encoder(clip.encoders[0], clip.patched(weights / "a.safetensors", 1.0).patches) as text:
        patched = text.get_parameter("encoder.layers.1.mlp.fc2.weight").clone()
    with runtime.text_encoder(replace(clip, last_layer=-2).encoders[0]) as text:
        assert not torch.equal(text.get_parameter("encoder.layers.1.mlp.fc2.weight"), patched)


def test_a_device_that_is_not_here_is_told_with_those_that_are() -> None:
    with pytest.raises(MissingDevice, match=r"there is no device cuda:99 here, but cpu.*: choose one of them"):
        Runtime("cuda:99")


def test_auto_is_cuda_where_there_is_one() -> None:
    assert Runtime().device.type == ("cuda" if torch.cuda.is_available() else "cpu")
