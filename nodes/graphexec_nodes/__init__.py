"""The built-in nodes: thin functions between workflows and the diffusion library."""

from graphexec.diffusion.codecs import CODECS
from graphexec_nodes import (
    conditioning,
    guiding,
    image,
    latent,
    loaders,
    lora,
    options,
    primitives,
    sampling,
    strings,
)
from graphexec_nodes.sockets import RESOURCES

__all__ = [
    "CODECS",
    "RESOURCES",
    "conditioning",
    "guiding",
    "image",
    "latent",
    "loaders",
    "lora",
    "options",
    "primitives",
    "sampling",
    "strings",
]
