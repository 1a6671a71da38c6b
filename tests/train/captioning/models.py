# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Captioners with small random weights, in the files of the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import BlipConfig, BlipForConditionalGeneration

ROWS = (
    ("general", 9),
    ("sensitive", 9),
    ("1girl", 0),
    ("long_hair", 0),
    ("o_o", 0),
    ("(o)_(o)", 0),
    ("reimu_(touhou)", 4),
    ("saber", 4),
)
_FRAME = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (*_FRAME, *["a", "picture", "of", "red", "green", "blue", "dog", "cat", "sun", "on", "the", "grass", "##s"])


def write_tagger(folder: Path, *, batch: int | str = "N", size: int = 8, outputs: int | None = None) -> Path:
    """A tagger of eight tags: tag k is as sure as the mean of a channel in 0..1, blue, green, red and again.

    Ratings and the faces go with blue and green.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = len(ROWS) if outputs is None else outputs
    weights = np.zeros((3, count), np.float32)
    for tag in range(count):
        weights[tag % 3, tag] = 1 / 255
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input", "axes"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["output"]),
        ],
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, size, size, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, count])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([1, 2], np.int64), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    write_table(folder, ROWS)
    return folder


def write_table(folder: Path, rows: Sequence[tuple[str, int]]) -> None:
    """A `selected_tags.csv`."""
    lines = [f"{number},{name},{category},{1000 - number}" for number, (name, category) in enumerate(rows)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *lines, ""]), encoding="utf-8")


def write_blip(folder: Path) -> Path:
    """A BLIP of one layer that knows a dozen words."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(WORDS)
    text = {
        "vocab_size": count + 2,
        "hidden_size": 8,
        "encoder_hidden_size": 8,
        "intermediate_size": 8,
        "projection_dim": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "bos_token_id": count,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "projection_dim": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=8))
    model.save_pretrained(str(folder))
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return folder
