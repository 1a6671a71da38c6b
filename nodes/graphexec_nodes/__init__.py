"""The built-in nodes: thin functions between workflows and the diffusion library. Every module here belongs to them."""

from importlib import import_module
from pkgutil import iter_modules

from graphexec.diffusion.codecs import CODECS
from graphexec_nodes.sockets import RESOURCES

__all__ = ["CODECS", "RESOURCES"]

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
