# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from graphexec.errors import ModelFileError
from graphexec.lora.header import in_file, parse_header, read_header, strip_prefix

WHOLE = save({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, {"made": "here"})


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    return path


def test_names_shapes_dtypes_and_metadata_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {
        "a": torch.zeros(2, 3),
        "b": torch.zeros(4, dtype=torch.bfloat16),
        "c": torch.zeros(()),
        "d": torch.zeros(0),
    }
    save_file(tensors, path, {"made": "here"})
    header = read_header(path)
    assert header.shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert header.tensors["b"].dtype == "BF16"
    assert header.metadata == {"made": "here"}


def test_strip_prefix_keeps_what_is_below_it() -> None:
    assert strip_prefix({"a.b": (1,), "a.c": (2,), "b.b": (3,)}, "a.") == {"b": (1,), "c": (2,)}


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = written(tmp_path_factory.mktemp("cut"), WHOLE[:length])
    with pytest.raises(ModelFileError, match=r"x.safetensors: "):
        read_header(path)


@given(st.binary(max_size=200))
def test_any_header_is_read_or_refused(raw: bytes) -> None:
    with pytest.raises(ModelFileError):
        parse_header(8 + len(raw), raw)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04" + b"0" * 40, "convert-checkpoint"),
        (b"\x80\x02}q\x00" + b"0" * 40, "pickle"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"GGUF" + b"\x03" * 40, "GGUF"),
        (b"", "0 bytes"),
        ((10**9).to_bytes(8, "little") + b"{}", "claims 1000000000 bytes"),
        ((100).to_bytes(8, "little") + b"{}", "cut off inside its header"),
        (WHOLE + b"\0", "1 bytes follow"),
        (WHOLE[:-1], "is cut off"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(ModelFileError, match=says):
        read_header(written(tmp_path, content))


def test_pipes_and_devices_are_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ModelFileError, match=f"{path}: this is a pipe or a device"):
            read_header(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.safetensors", tmp_path):
        with pytest.raises(ModelFileError, match="cannot be read"):
            read_header(path)


def entry(start: int, end: int, **other: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]} | other


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"a": entry(0, 8), "b": entry(4, 16)}, "'b' overlaps"),
        ({"a": entry(0, 8), "b": entry(12, 16)}, "'b' leaves a hole"),
        ({"a": entry(0, 16, shape=[5])}, "contradicts itself"),
        ({"a": entry(0, 16, shape=[-4])}, "contradicts itself"),
        ({"a": entry(0, 16, dtype="F33")}, "cannot be read"),
        ({"a": entry(0, 16, shape=["4"])}, "cannot be read|contradicts"),
        ({"a": entry(0, 16, shape=[4.0])}, "contradicts itself"),
        ({"a": {"dtype": "F32"}}, "cannot be read"),
        ({"a": 3}, "cannot be read"),
        ([], "not a JSON object"),
        ({"a\ud800": entry(0, 16)}, "not JSON in UTF-8"),
        ({"__metadata__": {"a": "b\ud800"}, "a": entry(0, 16)}, "not JSON in UTF-8"),
    ],
)
def test_a_header_that_does_not_hold_together_is_refused(tree: Any, says: str) -> None:
    raw = json.dumps(tree).encode()
    with pytest.raises(ModelFileError, match=says):
        parse_header(8 + len(raw) + 16, raw)


def test_deep_nesting_is_refused_not_a_crash() -> None:
    raw = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(ModelFileError):
        parse_header(8 + len(raw), raw)


def test_halves_of_characters_as_they_are_and_other_encodings_are_refused() -> None:
    text = '{"__metadata__": {"a": "\ud800"}}'
    for raw in (text.encode(errors="surrogatepass"), text.replace("\ud800", "b").encode("utf-16-le")):
        with pytest.raises(ModelFileError, match="not JSON"):
            parse_header(8 + len(raw), raw)


def test_escaped_characters_are_read() -> None:
    raw = json.dumps({"__metadata__": {"a": "\U0001f600 \xe4"}}).encode()
    assert parse_header(8 + len(raw), raw).metadata == {"a": "\U0001f600 \xe4"}


def test_in_file_names_the_file() -> None:
    with pytest.raises(ModelFileError, match=r"^some/path: lost$"), in_file(Path("some/path")):
        raise ModelFileError("lost")
