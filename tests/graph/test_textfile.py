"""Bytes of files: where they come from, how long they may be, and which text they are."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sys
from pathlib import Path
from typing import Any

import pytest

from graphexec.errors import Diagnostic, WorkflowError
from graphexec.graph.textfile import load_bytes, read_bytes
from graphexec.graph.workflow import read_workflow
from tests.data.broken import big

TEXT = '{"1": {"class_type": "A", "inputs": {"x": "ß"}}}'


def refusal(call: Any, *args: Any, **options: Any) -> Diagnostic:
    with pytest.raises(WorkflowError) as caught:
        call(*args, **options)
    (found,) = caught.value.diagnostics
    return found


def test_a_file_is_read_by_path_or_name(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(TEXT.encode())
    by_path, by_name = read_workflow(path), read_workflow(str(path))
    assert by_path == by_name
    assert by_path.source == str(path)
    assert by_path.nodes["1"].inputs == {"x": "ß"}


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(big.read("b45"))))
    workflow = read_workflow("-")
    assert workflow.source == "-"
    assert len(workflow.nodes) == 8


def test_a_file_that_is_not_there_is_told_from_a_bad_workflow(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    for path in (tmp_path / "b.json", tmp_path / "a.json" / "b"):
        found = refusal(read_workflow, path)
        assert (found.code, found.missing_file) == ("file_not_found", True)
        assert str(path) in found.message


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_folder_or_a_name_no_file_can_have(tmp_path: Path, name: str) -> None:
    assert refusal(read_bytes, f"{tmp_path}/{name}").code == "file_unreadable"


def test_long_files_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(TEXT.encode())
    size = path.stat().st_size
    assert read_workflow(path, max_bytes=size).nodes
    assert refusal(read_workflow, path, max_bytes=size - 1).code == "file_too_large"
    assert refusal(read_workflow, path.read_bytes(), max_bytes=size - 1).code == "file_too_large"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(size))))
    assert refusal(read_workflow, "-", max_bytes=size - 1).code == "file_too_large"


def test_a_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    found = refusal(read_workflow, "-")
    assert (found.code, found.message) == ("file_unreadable", "The file - cannot be read: standard input is closed")


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (codecs.BOM_UTF8 + TEXT.encode(), "UTF-8 with a byte order mark"),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), "UTF-16"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "UTF-16"),
    ],
)
def test_a_byte_order_mark_is_accepted_and_said(data: bytes, received: str) -> None:
    document = load_bytes(data, "a.json")
    assert document.loaded.value["1"]["inputs"] == {"x": "ß"}
    assert [(d.code, d.severity, d.received) for d in document.notes] == [("byte_order_mark", "warning", received)]
    assert document.text.find("/1") == 6


@pytest.mark.parametrize("data", [b"", b" \r\n\t", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_files_without_text_are_empty(data: bytes) -> None:
    assert refusal(load_bytes, data, "a.json").code == "empty_file"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode("latin-1"),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")[:-1],
        b"\xff" + TEXT.encode(),
    ],
)
def test_other_encodings_are_named_as_the_fault(data: bytes) -> None:
    loaded = load_bytes(data, "a.json").loaded
    assert loaded.broken
    assert loaded.faults[-1].code == "not_utf8"


@pytest.mark.parametrize(
    ("data", "code", "message", "hint"),
    [
        (gzip.compress(TEXT.encode()), "other_format", "compressed by gzip", "unpack it"),
        (bz2.compress(TEXT.encode()), "other_format", "compressed by bzip2", "unpack it"),
        (lzma.compress(TEXT.encode()), "other_format", "compressed by xz", "unpack it"),
        (b"\x28\xb5\x2f\xfd\x04", "other_format", "compressed by Zstandard", "unpack it"),
        (b"PK\x03\x04\x14", "other_format", "a ZIP archive", "unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "other_format", "a pointer of Git LFS", "git lfs pull"),
        (b"\n<!DOCTYPE html>", "other_format", "a web page", "download the file itself"),
        (b"<HTML><body>", "other_format", "a web page", "download the file itself"),
        ((200).to_bytes(8, "little") + b'{"a": 1}', "other_format", "a safetensors file", "a workflow that uses it"),
        (TEXT.encode("utf-32"), "not_utf8", "UTF-32 text", "as UTF-8"),
        (TEXT.encode("utf-32-le"), "not_utf8", "UTF-32 text without", "as UTF-8"),
        (TEXT.encode("utf-32-be"), "not_utf8", "UTF-32 text without", "as UTF-8"),
        (TEXT.encode("utf-16-le"), "not_utf8", "UTF-16 text without", "as UTF-8"),
        (b"\0\n" + TEXT.encode("utf-16-be"), "not_utf8", "UTF-16 text without", "as UTF-8"),
    ],
)
def test_files_of_other_kinds_are_told_by_their_beginning(data: bytes, code: str, message: str, hint: str) -> None:
    found = refusal(load_bytes, data, "a.json")
    assert found.code == code
    assert f"a.json is {message}" in found.message
    assert hint in (found.hint or "")
