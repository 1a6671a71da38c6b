"""The built-in nodes: thin functions between workflows and the diffusion library. Every module here belongs to them."""

from typing import TYPE_CHECKING, Any

from graphexec.node.index import find_nodes
from graphexec_nodes.absent import ABSENT
from graphexec_nodes.sockets import RESOURCES

if TYPE_CHECKING:
    from graphexec.diffusion.codecs import CODECS

__all__ = ["ABSENT", "CODECS", "NODES", "RESOURCES", "RESULTS"]

RESULTS = 4
"""Enters every key, as the version of the package does: one more when results change between two releases."""

NODES = find_nodes(__name__, __path__)


def __getattr__(name: str) -> Any:
    """`CODECS`: they know every type of value, and a check of a workflow needs none of them."""
    if name != "CODECS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from graphexec.diffusion.codecs import CODECS

    return CODECS
