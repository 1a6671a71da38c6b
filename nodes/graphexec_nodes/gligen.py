"""Nodes that put described things at places of the picture: GLIGEN."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from graphexec.diffusion.types import Area, Clip, Conditioning, Gligen
from graphexec.node.decorator import node
from graphexec.node.fields import Folder, Range, Text, Warn, Widget
from graphexec_nodes import prompt_facts
from graphexec_nodes.sockets import Embeddings, Runtime

GligenFile = Annotated[Path, Folder("gligen")]
Side = Annotated[int, Range(ge=8, le=16_384), Widget(step=8)]
Offset = Annotated[int, Range(ge=0, le=16_384), Widget(step=8)]


@node("GLIGENLoader", category="loaders")
def load_gligen(gligen_name: GligenFile) -> Gligen:
    """Open a GLIGEN for boxes of text.

    Args:
        gligen_name: a file of the gligen folder.
    """
    from graphexec.diffusion.gligen import open_gligen

    return open_gligen(gligen_name)


@node("GLIGENTextBoxApply", category="conditioning/gligen", infer=prompt_facts.of_prompts)
def place_text(
    conditioning_to: Conditioning,
    clip: Clip,
    gligen_textbox_model: Gligen,
    text: Text,
    width: Side = 64,
    height: Side = 64,
    x: Offset = 0,
    y: Offset = 0,
    *,
    runtime: Runtime,
    embeddings: Embeddings,
    warn: Warn,
) -> Conditioning:
    """Have a described thing appear inside a box; up to 30 of them.

    Args:
        conditioning_to: the prompt of the whole picture.
        clip: the text encoder.
        gligen_textbox_model: the GLIGEN.
        text: what the thing is.
        width: of the box, in pixels.
        height: of the box, in pixels.
        x: pixels left of the box.
        y: pixels above the box.
    """
    from graphexec.diffusion.encode import encode_feature
    from graphexec.diffusion.gligen import place

    feature = encode_feature(runtime, clip, text, embeddings=embeddings, warn=warn)
    return place(conditioning_to, gligen_textbox_model, feature, Area(width, height, x, y))
