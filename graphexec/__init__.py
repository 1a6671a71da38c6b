"""graphexec compiles, checks, runs and caches ComfyUI workflows, without ComfyUI.

plan = graphexec.compile("workflow.json")   # raises WorkflowError with everything that is wrong
result = graphexec.run(plan)                # what is cached is not computed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphexec.errors import (
        CacheError,
        Cancelled,
        Diagnostic,
        FolderError,
        GraphexecError,
        InputError,
        ModelFileError,
        NodeDefinitionError,
        NodeError,
        OutputError,
        ResultError,
        WorkflowError,
    )
    from graphexec.graph.cache import MemoryCache, NullCache, TieredCache
    from graphexec.graph.compile import Compiled, check, compile  # noqa: A004
    from graphexec.graph.context import CancelToken, Context
    from graphexec.graph.digests import FileDigests
    from graphexec.graph.execute import run, run_async, stream
    from graphexec.graph.folders import Folders
    from graphexec.graph.plan import Plan
    from graphexec.graph.result import Result
    from graphexec.graph.store import DiskStore
    from graphexec.graph.workflow import Workflow, read_workflow
    from graphexec.node.registry import Registry

__all__ = [
    "CacheError",
    "CancelToken",
    "Cancelled",
    "Compiled",
    "Context",
    "Diagnostic",
    "DiskStore",
    "FileDigests",
    "FolderError",
    "Folders",
    "GraphexecError",
    "InputError",
    "MemoryCache",
    "ModelFileError",
    "NodeDefinitionError",
    "NodeError",
    "NullCache",
    "OutputError",
    "Plan",
    "Registry",
    "Result",
    "ResultError",
    "TieredCache",
    "Workflow",
    "WorkflowError",
    "check",
    "compile",
    "read_workflow",
    "run",
    "run_async",
    "stream",
]

_HOMES = {
    "graphexec.graph.cache": ("MemoryCache", "NullCache", "TieredCache"),
    "graphexec.graph.compile": ("Compiled", "check", "compile"),
    "graphexec.graph.context": ("CancelToken", "Context"),
    "graphexec.graph.digests": ("FileDigests",),
    "graphexec.graph.execute": ("run", "run_async", "stream"),
    "graphexec.graph.folders": ("Folders",),
    "graphexec.graph.plan": ("Plan",),
    "graphexec.graph.result": ("Result",),
    "graphexec.graph.store": ("DiskStore",),
    "graphexec.graph.workflow": ("Workflow", "read_workflow"),
    "graphexec.node.registry": ("Registry",),
}


if not TYPE_CHECKING:  # a type checker knows the names from above, and tells of one that is none of them

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: whoever only checks a workflow does not wait for the executor."""
        import importlib

        if name not in __all__:
            raise AttributeError(f"module 'graphexec' has no attribute {name!r}")
        home = next((module for module, names in _HOMES.items() if name in names), "graphexec.errors")
        value = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value
