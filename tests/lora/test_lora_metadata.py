# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The configuration that PEFT saves beside a LoRA says its alpha, as PEFT itself reads it."""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from lora.oracles import randomize
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from graphexec.errors import ModelFileError
from graphexec.lora import list_modules, summarize
from graphexec.lora.metadata import read_lora_header

ADAPTER = "adapter_model.safetensors"


def layers() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(OrderedDict(one=nn.Linear(6, 8), two=nn.Linear(8, 8), three=nn.Linear(8, 4)))


def changed(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network after the modules of a LoRA file."""
    weights, tensors = dict(network.state_dict()), load_file(path)
    for module in list_modules(read_lora_header(path)).modules:
        name = f"{module.name.removeprefix('base_model.model.')}.weight"
        weights[name] = module.adapter.change(weights[name].clone(), 1.0, tensors.__getitem__)
    return weights


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_alpha_and_rank_of_each_layer_as_peft_has_them(tmp_path: Path, options: dict[str, bool]) -> None:
    peft: Any = pytest.importorskip("peft", reason="pip install 'graphexec[oracles]'")
    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=["one", "two", "three"], rank_pattern={"two": 2},
        alpha_pattern={"two": 9, "^three": 1}, **options,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        wrapped = peft.get_peft_model(layers(), config)
        randomize((each for each in wrapped.named_parameters() if "lora_" in each[0]), 0.4, seed=1)
        wrapped.save_pretrained(tmp_path)
        expected = wrapped.merge_and_unload().state_dict()
    found = changed(tmp_path / ADAPTER, layers())
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-6)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    save_file(
        {"unet.m.lora_A.weight": torch.zeros(4, 3), "unet.m.lora_B.weight": torch.zeros(5, 4)}, tmp_path / ADAPTER
    )
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 16}))
    return tmp_path / ADAPTER


def test_it_is_told_of_the_file(adapter: Path) -> None:
    assert summarize(adapter).alphas == (16.0,)


def test_a_files_own_metadata_counts_more(adapter: Path) -> None:
    save_file(load_file(adapter), adapter, {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 2})})
    assert summarize(adapter).alphas == (2.0,)


def test_other_files_have_none(adapter: Path) -> None:
    other = adapter.rename(adapter.with_name("other.safetensors"))
    assert read_lora_header(other).metadata == {}
    (adapter.with_name("adapter_config.json")).unlink()
    assert read_lora_header(other.rename(adapter)).metadata == {}


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff"])
def test_one_that_cannot_be_read(adapter: Path, data: bytes) -> None:
    adapter.with_name("adapter_config.json").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"adapter_config\.json.*it holds alpha"):
        summarize(adapter)


def test_an_alpha_that_is_no_number_is_told_of_the_file_that_says_it(adapter: Path) -> None:
    adapter.with_name("adapter_config.json").write_text('{"lora_alpha": "16"}')
    with pytest.raises(ModelFileError, match=r"adapter_config\.json beside it says '16' for 'lora_alpha'"):
        summarize(adapter)


def test_it_may_begin_with_a_byte_order_mark(adapter: Path) -> None:
    adapter.with_name("adapter_config.json").write_text('{"lora_alpha": 8}', encoding="utf-8-sig")
    assert summarize(adapter).alphas == (8.0,)
