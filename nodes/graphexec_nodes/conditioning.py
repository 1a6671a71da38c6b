"""Nodes that turn prompts into conditioning."""

from __future__ import annotations

from graphexec.diffusion.types import Clip, Conditioning
from graphexec.node.decorator import node
from graphexec.node.fields import Text
from graphexec_nodes.sockets import Runtime


@node("CLIPTextEncode", category="conditioning", display_name="CLIP Text Encode (Prompt)")
def encode_text(text: Text, clip: Clip, runtime: Runtime) -> Conditioning:
    """Encode a prompt for the diffusion model to be led by.

    Args:
        text: the prompt; `(words:1.2)` weighs them.
        clip: the text encoder.
    """
    from graphexec.diffusion.encode import encode_prompt

    return encode_prompt(runtime, clip, text)
