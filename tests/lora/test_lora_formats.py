# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lora.headers import header_of

from graphexec.errors import ModelFileError
from graphexec.lora import list_modules
from graphexec.lora.parts import ENDINGS, PEFT, split_name


@pytest.mark.parametrize(
    ("tensor", "module", "part"),
    [
        ("lora_unet_a.lora_up.weight", "lora_unet_a", "up"),
        ("lora_unet_a.lora_down.weight", "lora_unet_a", "down"),
        ("lora_unet_a.lora_mid.weight", "lora_unet_a", "mid"),
        ("unet.a.processor.to_q_lora.up.weight", "unet.a.processor.to_q", "up"),
        ("unet.a.lora.down.weight", "unet.a", "down"),
        ("text_encoder.q_proj.lora_linear_layer.up.weight", "text_encoder.q_proj", "up"),
        ("unet.a.lora_A.weight", "unet.a", "down"),
        ("base_model.model.a.lora_B.default.weight", "base_model.model.a", "up"),
        ("base_model.model.a.lora_A.other_0.weight", "base_model.model.a", "down"),
        ("unet.a.lora_magnitude_vector", "unet.a", "magnitude"),
        ("unet.a.lora_magnitude_vector.default.weight", "unet.a", "magnitude"),
        ("unet.a.hada_w1_a.default", "unet.a", "hada_w1_a"),
        ("a.lokr_w2_b", "a", "lokr_w2_b"),
        ("a.lokr_w2", "a", "lokr_w2"),
        ("unet.a.oft_R.default.weight", "unet.a", "oft_R"),
        ("a.b1.weight", "a", "b1"),
        ("a.diff_b", "a", "diff_b"),
        ("lora_unet_a.weight", "lora_unet_a", "ia3"),
    ],
)
def test_a_tensor_is_a_part_of_a_module(tensor: str, module: str, part: str) -> None:
    assert split_name(tensor) == (module, part)


@pytest.mark.parametrize("tensor", ["bundle_emb.x.string_to_param", "a.lora_B.bias", "a.bias", "alpha"])
def test_other_names_are_no_parts(tensor: str) -> None:
    assert split_name(tensor) is None


@pytest.mark.parametrize(
    ("parts", "kinds"),
    [
        ({"lora_up.weight": (6, 2), "lora_down.weight": (2, 5), "alpha": ()}, ["lora"]),
        ({"lora_up.weight": (6, 2), "lora_down.weight": (2, 5), "dora_scale": (6, 1)}, ["dora"]),
        ({"lora_up.weight": (6, 2), "lora_down.weight": (2, 5), "diff_b": (6,)}, ["lora", "biasdiff"]),
        ({"oft_blocks": (2, 3, 3), "alpha": ()}, ["oft"]),
        ({"oft_blocks": (1, 2, 3, 3)}, ["boft"]),
        ({"oft_diag": (2, 3, 3)}, ["oft"]),
        ({"weight": (6,), "on_input": ()}, ["ia3"]),
        ({"ia3_l": (6, 1)}, ["peftia3bias", "peftia3"]),
        ({"w_norm": (6,), "b_norm": (6,)}, ["diff", "biasdiff"]),
        ({"set_weight": (6, 5)}, ["setweight"]),
        ({"lokr_w1": (2, 1), "lokr_w2_a": (3, 2), "lokr_w2_b": (2, 5)}, ["lokr"]),
        ({"hada_w1_a": (6, 2), "hada_w1_b": (2, 5), "hada_w2_a": (6, 2), "hada_w2_b": (2, 5)}, ["loha"]),
        ({"a1.weight": (5, 2), "a2.weight": (2, 5), "b1.weight": (6, 2), "b2.weight": (2, 5)}, ["glora"]),
    ],
)
def test_the_parts_of_a_module_tell_its_kind(parts: dict[str, tuple[int, ...]], kinds: list[str]) -> None:
    file = list_modules(header_of({f"lora_unet_m.{part}": shape for part, shape in parts.items()}))
    assert [module.kind for module in file.modules] == kinds
    assert not file.strangers
    assert {tensor for module in file.modules for tensor in module.tensors} == {f"lora_unet_m.{p}" for p in parts}


def test_halves_and_other_tensors_are_strangers() -> None:
    shapes = {"m.lora_up.weight": (6, 2), "n.lora_down.weight": (2, 5), "emb.thing": (3,), "o.weight": (3,)}
    file = list_modules(header_of(shapes))
    assert not file.modules
    assert set(file.strangers) == set(shapes)


def test_ia3_of_no_trainer_is_known_by_on_input() -> None:
    (module,) = list_modules(header_of({"unet.m.weight": (3,), "unet.m.on_input": ()})).modules
    assert module.kind == "ia3"


class TestMetadata:
    SHAPES: ClassVar = {
        f"unet.{m}.{part}.weight": (4, 4) for m in ("a.to_q", "a.to_k") for part in ("lora_A", "lora_B")
    }

    def settings(self, entries: object) -> list[object]:
        header = header_of(self.SHAPES, {"lora_adapter_metadata": json.dumps(entries)})
        return [module.adapter.settings.get("lora_alpha") for module in list_modules(header).modules]

    def test_alpha_is_that_of_the_network(self) -> None:
        assert self.settings({"unet.lora_alpha": 8, "text_encoder.lora_alpha": 2}) == [8, 8]

    def test_a_pattern_names_a_module_by_its_end(self) -> None:
        assert self.settings({"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_k": 3}}) == [8, 3]
        assert self.settings({"unet.lora_alpha": 8, "unet.alpha_pattern": {"a.to_[": 3, "a.to_q": 4}}) == [4, 8]

    def test_metadata_without_networks_is_for_all(self) -> None:
        assert self.settings({"lora_alpha": 8}) == [8, 8]

    @pytest.mark.parametrize(
        "entry", ['"lora_alpha": "abc"', '"r": []', '"lora_alpha": NaN', '"alpha_pattern": {"to_q": {}}']
    )
    def test_an_alpha_or_a_rank_that_is_no_number_is_refused(self, entry: str) -> None:
        with pytest.raises(ModelFileError, match=r"lora_adapter_metadata.*of 'unet\.a\.to_q', which is no number"):
            list_modules(header_of(self.SHAPES, {"lora_adapter_metadata": f"{{{entry}}}"}))

    @pytest.mark.parametrize("text", ["{", "[]", "3"])
    def test_metadata_that_cannot_be_read_is_refused(self, text: str) -> None:
        with pytest.raises(ModelFileError, match="lora_adapter_metadata"):
            list_modules(header_of(self.SHAPES, {"lora_adapter_metadata": text}))


TENSORS = sorted({*(f"lora_unet_a{ending}" for ending in ENDINGS), *(f"unet.a.{part}.weight" for part in PEFT)})
SHAPES = st.lists(st.integers(0, 5), max_size=5).map(tuple)
WEIGHTS = st.sampled_from([(4, 4), (5, 2, 3, 3), (3,), (1,)])


@given(st.dictionaries(st.sampled_from(TENSORS), SHAPES), WEIGHTS)
def test_tensors_of_whatever_shape_are_looked_at_without_a_fault(
    shapes: dict[str, tuple[int, ...]], weight: tuple[int, ...]
) -> None:
    for module in list_modules(header_of(shapes)).modules:
        adapter = module.adapter
        for told in (adapter.rank, adapter.shape, adapter.has_scale):
            assert told is None or isinstance(told, (int, tuple))
        assert isinstance(adapter.fits(weight), bool)


@pytest.mark.parametrize("kind", ["down", "hada_w1_b", "a1", "lokr_w2_b"])
@pytest.mark.parametrize("size", [(), (4,)])
def test_factors_without_sides_fit_nothing(kind: str, size: tuple[int, ...]) -> None:
    ends = {
        "down": {".lora_down.weight": size, ".lora_up.weight": (4, 4)},
        "hada_w1_b": {".hada_w1_b": size, ".hada_w1_a": (4, 4), ".hada_w2_a": (4, 4), ".hada_w2_b": (4, 4)},
        "a1": {f".{part}.weight": size for part in ("a1", "a2", "b1", "b2")},
        "lokr_w2_b": {".lokr_w1": (2, 2), ".lokr_w2_a": (2, 2), ".lokr_w2_b": size},
    }[kind]
    (module,) = list_modules(header_of({f"lora_unet_a{end}": shape for end, shape in ends.items()})).modules
    assert not module.adapter.fits((4, 4))


@pytest.mark.parametrize(
    ("parts", "weight"),
    [
        ({"weight": (4,), "on_input": (2,)}, (4, 6)),
        ({"weight": (4,), "on_input": (0,)}, (4, 6)),
        ({"lora_up.weight": (4, 2), "lora_down.weight": (2, 6), "lora_mid.weight": (2, 2)}, (4, 6)),
        ({"lokr_w1": (2, 9), "lokr_w2": (2, 5)}, (4, 5, 3, 3)),
        ({"lokr_w1": (2, 2), "lokr_w2_a": (2, 2), "lokr_w2_b": (2, 3), "lokr_t2": ()}, (4, 6)),
        ({"lokr_w1": (1, 1), "lokr_w2": (6, 1)}, (6,)),
        ({"oft_blocks": (2, 2, 2), "rescale": (4, 5)}, (4, 6)),
        ({"oft_blocks": (1, 2, 2, 2)}, (4,)),
        ({"oft_blocks": (1, 2, 2, 2), "rescale": (4, 5)}, (4, 6)),
        ({"boft_R": (1, 1, 1, 1), "boft_s": (1, 6)}, (6,)),
        ({"a1.weight": (6, 2), "a2.weight": (2, 6, 2), "b1.weight": (4, 2), "b2.weight": (2, 6)}, (4, 6)),
        ({"a1.weight": (6, 2), "a2.weight": (2, 6), "b1.weight": (4, 2), "b2.weight": (2, 6), "bm.weight": ()}, (4, 6)),
    ],
)
def test_what_cannot_be_computed_does_not_fit(parts: dict[str, tuple[int, ...]], weight: tuple[int, ...]) -> None:
    file = list_modules(header_of({f"lora_unet_a.{part}": shape for part, shape in parts.items()}))
    assert not any(module.adapter.fits(weight) for module in file.modules)


@pytest.mark.parametrize(
    ("size", "flag", "changed"),
    [
        ((6,), None, (1, 6)),
        ((1, 6), False, (1, 6)),
        ((4, 1), True, (4, 1)),
        ((4,), None, (4, 1)),
    ],
)
def test_how_many_elements_ia3_has_tells_whether_it_is_for_rows(
    size: tuple[int, ...], flag: bool | None, changed: tuple[int, ...]
) -> None:
    tensors = {"lora_unet_a.weight": torch.arange(1.0, 1.0 + torch.Size(size).numel()).reshape(size)}
    tensors |= {} if flag is None else {"lora_unet_a.on_input": torch.tensor(flag)}
    (module,) = list_modules(header_of({name: tuple(tensor.shape) for name, tensor in tensors.items()})).modules
    weight = module.adapter.change(torch.ones(4, 6), 1.0, tensors.__getitem__)
    expected = 1.0 + tensors["lora_unet_a.weight"].reshape(changed).expand(4, 6)
    assert torch.equal(weight, expected)
