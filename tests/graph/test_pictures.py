"""Workflows in the metadata of pictures, as ComfyUI writes them."""

from __future__ import annotations

import json
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from graphexec.errors import WorkflowError
from graphexec.graph import pictures
from graphexec.graph.pictures import picture_kind, workflow_in_picture
from graphexec.graph.workflow import read_workflow

PROMPT = {"1": {"class_type": "EmptyImage", "inputs": {"text": "Straße 😀"}, "is_changed": [None]}}
UI = {"nodes": [{"id": 1}], "links": [], "version": 0.4}
LOSSY = [kind for kind in ("WEBP", "JPEG", "AVIF") if kind != "AVIF" or features.check("avif")]


def saved(kind: str, **options: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind, **options)
    return file.getvalue()


def png(texts: dict[str, str], *, packed: bool = False, international: bool = False) -> bytes:
    info = PngInfo()
    for key, text in texts.items():
        (info.add_itxt if international else info.add_text)(key, text, zip=packed)
    return saved("PNG", pnginfo=info)


def with_exif(kind: str, tags: dict[int, str]) -> bytes:
    exif = Image.Exif()
    for tag, text in tags.items():
        exif[tag] = text
    return saved(kind, exif=exif)


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def refusal(data: bytes) -> Any:
    with pytest.raises(WorkflowError) as caught:
        workflow_in_picture(data, "a.png")
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("international", [False, True])
def test_png(packed: bool, international: bool) -> None:
    texts = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(UI), "parameters": "steps: 20"}
    text, extra = workflow_in_picture(png(texts, packed=packed, international=international), "a.png")
    assert json.loads(text) == PROMPT
    assert extra == {"workflow": UI}


def test_png_with_the_text_behind_the_pixels_and_in_utf8() -> None:
    data = saved("PNG")
    end = data.index(b"IEND") - 4
    late = chunk(b"tEXt", b"prompt\0" + json.dumps(PROMPT, ensure_ascii=False).encode())
    text, extra = workflow_in_picture(data[:end] + late + data[end:], "a.png")
    assert json.loads(text) == PROMPT
    assert extra == {}


@pytest.mark.parametrize("kind", LOSSY)
def test_exif(kind: str) -> None:
    tags = {0x0110: "prompt:" + json.dumps(PROMPT), 0x010F: "Workflow:" + json.dumps(UI), 0x010E: "a:b"}
    workflow = read_workflow(with_exif(kind, tags))
    assert workflow.prompt == PROMPT
    assert workflow.extra_pnginfo == {"workflow": UI}


def test_nan_is_what_it_is_anywhere_but_harmless_where_comfyui_writes_it() -> None:
    prompt = '{"1": {"class_type": "A", "inputs": {"x": NaN}, "is_changed": [NaN]}}'
    workflow = read_workflow(png({"prompt": prompt}), name="a.png")
    found = [(d.code, d.severity, d.node, d.input) for d in workflow.diagnostics]
    assert found == [("not_finite_number", "error", "1", "x"), ("not_finite_number", "warning", "1", None)]
    assert workflow.source == "a.png"


def test_a_ui_workflow_that_is_no_json_stays_a_text() -> None:
    texts = {"prompt": "{}", "workflow": '{"x": NaN}'}
    assert workflow_in_picture(png(texts), "a.png")[1] == {"workflow": '{"x": NaN}'}


def test_a_picture_without_a_workflow_says_so() -> None:
    found = refusal(saved("PNG"))
    assert found.code == "no_workflow_in_picture"
    assert found.message == "The PNG picture a.png holds no workflow"
    assert refusal(saved("WEBP")).code == "no_workflow_in_picture"


def test_a_picture_with_only_the_ui_workflow_says_that() -> None:
    found = refusal(png({"workflow": json.dumps(UI)}))
    assert found.code == "no_workflow_in_picture"
    assert "UI format" in found.message


def test_texts_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_TEXT", 1000)
    bomb = png({"prompt": " " * 100_000}, packed=True)
    assert len(bomb) < 1000
    found = refusal(bomb)
    assert found.code == "unreadable_picture"
    assert "longer" in found.message


@pytest.mark.parametrize(
    "data",
    [
        saved("PNG")[:33] + chunk(b"zTXt", b"prompt\0\0no zlib"),
        saved("PNG")[:33] + chunk(b"iTXt", b"prompt"),
        saved("PNG")[:33] + chunk(b"iTXt", b"prompt\0"),
        saved("WEBP")[:20],
        png({"prompt": "{}"})[:33],
        b"\0\0\0\x20ftypavif" + bytes(20),
    ],
)
def test_damaged_pictures_are_refused(data: bytes) -> None:
    found = refusal(data)
    assert found.code == "unreadable_picture"
    assert " at 0x" not in found.message


def test_a_png_that_is_cut_off_in_its_text_is_json_that_is_cut_off() -> None:
    data = png({"prompt": json.dumps(PROMPT)})
    with pytest.raises(WorkflowError) as caught:
        read_workflow(data[: data.index(b"class_type")])
    assert [(d.code, d.node) for d in caught.value.diagnostics] == [("invalid_json", "1")]


def test_kinds_are_told_by_content() -> None:
    found = [picture_kind(saved(kind)) for kind in ("PNG", "JPEG", "WEBP", "GIF")]
    assert found == ["PNG", "JPEG", "WebP", None]
    assert picture_kind(b"{}") is None
