"""Where results are kept between runs: in memory, on disk, in both, or nowhere."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from graphexec.graph.call import Outputs
from graphexec.graph.store import DiskStore
from graphexec.node.boundary import Raised, attempt

__all__ = ["Cache", "Careful", "MemoryCache", "NullCache", "TieredCache", "nbytes"]

T = TypeVar("T")

HEADER = 64
"""About how many bytes an object has besides its data."""

_WHOLE = (int, float, str, bytes, NoneType, type, ModuleType, FunctionType, BuiltinFunctionType)
"""What refers to nothing, or belongs to the program, whatever refers to it."""


class Cache(Protocol):
    """Keeps what nodes returned by 32-byte key; may forget anything at any time. Used from many threads."""

    def get(self, key: bytes) -> Outputs | None:
        """What was put under a key, if it is still there."""
        ...

    def put(self, key: bytes, outputs: Outputs) -> None:
        """Keep a result, if there is room for it."""
        ...

    def contains(self, key: bytes) -> bool:
        """Whether `get` would likely find it; cheap, and no use of it."""
        ...


class NullCache:
    """Keeps nothing."""

    def get(self, key: bytes) -> Outputs | None:
        return None

    def put(self, key: bytes, outputs: Outputs) -> None:
        pass

    def contains(self, key: bytes) -> bool:
        return False


class Perishable(Protocol):
    """A part of a value that holds only as long as something outside stays as it is, such as a file."""

    def is_current(self) -> bool:
        """Whether it still holds."""
        ...


class _Kept(NamedTuple):
    outputs: Outputs
    size: int
    perishable: tuple[Perishable, ...]

    @classmethod
    def of(cls, outputs: Outputs) -> _Kept:
        parts = list(_all_parts(outputs))
        perishable = tuple(cast("Perishable", part) for part in parts if hasattr(part, "is_current"))
        return cls(outputs, _bytes_of(parts), perishable)

    def holds(self) -> bool:
        return all(attempt(part.is_current, {}) is True for part in self.perishable)


class MemoryCache:
    """Keeps the most recently used results, up to `max_bytes` together; a larger one is not kept at all.

    A result some part of which says that it `is_current()` no longer is forgotten. One that a reader uses up, such as
    a generator or an open file, is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> Outputs | None:
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            return None
        holds = found.holds()  # looks at files, which may take long: others go on meanwhile
        with self._lock:
            if self._kept.get(key) is found:
                if holds:
                    self._kept.move_to_end(key)
                else:
                    self._forget(key)
        return found.outputs if holds else None

    def put(self, key: bytes, outputs: Outputs) -> None:
        kept = attempt(_Kept.of, {"outputs": outputs})
        with self._lock:
            self._forget(key)
            if any(isinstance(item, Iterator) for items in outputs for item in items):
                return
            if isinstance(kept, Raised) or kept.size > self.max_bytes:  # what cannot be measured may be of any size
                return
            self._kept[key] = kept
            self._bytes += kept.size
            while self._bytes > self.max_bytes:
                self._forget(next(iter(self._kept)))

    def contains(self, key: bytes) -> bool:
        return key in self._kept

    @property
    def bytes(self) -> int:
        """How much is kept now."""
        return self._bytes

    def _forget(self, key: bytes) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size


class TieredCache:
    """Looks in memory, then on disk; what the disk had is in memory from then on."""

    def __init__(self, memory: MemoryCache | None, disk: DiskStore | None) -> None:
        self.memory = memory
        self.disk = disk

    def get(self, key: bytes) -> Outputs | None:
        if self.memory is not None and (kept := self.memory.get(key)) is not None:
            return kept
        if self.disk is None:
            return None
        stored = cast("Outputs | None", self.disk.get(key))
        if stored is not None and self.memory is not None:
            self.memory.put(key, stored)
        return stored

    def put(self, key: bytes, outputs: Outputs) -> None:
        if self.memory is not None:
            self.memory.put(key, outputs)
        if self.disk is not None:
            self.disk.put(key, outputs)

    def contains(self, key: bytes) -> bool:
        tiers = (self.memory, self.disk)
        return any(tier is not None and tier.contains(key) for tier in tiers)


class Careful:
    """A run's way to a cache: what the cache raises is told, and is a miss."""

    def __init__(self, cache: Cache, tell: Callable[[Exception], None]) -> None:
        self._cache = cache
        self._tell = tell

    def get(self, key: bytes) -> Outputs | None:
        return self._try(partial(self._cache.get, key))

    def put(self, key: bytes, outputs: Outputs) -> None:
        self._try(partial(self._cache.put, key, outputs))

    def contains(self, key: bytes) -> bool:
        return bool(self._try(partial(self._cache.contains, key)))

    def _try(self, call: Callable[[], T]) -> T | None:
        done = attempt(call, {})
        if not isinstance(done, Raised):
            return done
        self._tell(done.error)
        return None


def nbytes(value: Any) -> int:
    """About how much memory a value holds, what it refers to counted once."""
    return _bytes_of(list(_all_parts(value)))


def _all_parts(value: Any) -> Iterator[Any]:
    """A value and all that it refers to, each once."""
    seen: set[int] = set()
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if id(item) not in seen:
            seen.add(id(item))
            pending.extend(_parts(item))
            yield item


def _bytes_of(parts: Iterable[Any]) -> int:
    """What parts take, without what they refer to; memory that several are views of counts once, and whole."""
    own, shared = 0, dict[int, int]()
    for part in parts:
        if isinstance(getattr(part, "nbytes", None), int):
            own += HEADER
            shared.update([_memory(part)])
        else:
            own += sys.getsizeof(part, HEADER)
    return own + sum(shared.values())


def _memory(value: Any) -> tuple[int, int]:
    """Where the memory is that a tensor or an array is a view of, and its bytes, all of which the view keeps alive."""
    while isinstance(getattr(base := getattr(value, "base", None), "nbytes", None), int):  # numpy's
        value = base
    if hasattr(value, "untyped_storage"):  # torch's
        storage = value.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    return id(value), value.nbytes


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, _WHOLE):
        return ()
    if isinstance(value, list | tuple | set | frozenset):
        return cast("Iterable[Any]", value)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return [part for pair in pairs for part in pair]
    # asked so, an object that makes up whatever it is asked for, as mocks do, does not grow on the way
    known = hasattr(cast("type[Any]", type(value)), "nbytes") or "nbytes" in getattr(value, "__dict__", ())
    return () if known else _attributes(value)


def _attributes(value: object) -> list[Any]:
    """What an object of any class holds, in slots too, whatever its class would save of it."""
    state: Any = object.__getstate__(value)
    named = cast("tuple[dict[str, Any] | None, ...]", state if isinstance(state, tuple) else (state,))
    return [part for attributes in named if attributes for part in attributes.values()]
