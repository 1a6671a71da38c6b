"""Work that is done before its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")
Made = TypeVar("Made")


def ahead(make: Callable[[T], Made], items: Iterable[T]) -> Iterator[Made]:
    """What is made of each item, in order; while one is in use, the next is made in a thread.

    What `make` raises is raised at its item's turn. The thread ends with the iterator.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming: Future[Made] | None = None
        for item in items:
            now, coming = coming, thread.submit(make, item)
            if now is not None:
                yield now.result()
        if coming is not None:
            yield coming.result()
