"""Asynchronous nodes of a run: they go on while others work, on an event loop of the run's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from graphexec.errors import Cancelled
from graphexec.graph.call import Arguments, Collected, Unanswered, answer
from graphexec.graph.context import CancelToken
from graphexec.node.boundary import Raised, refusal, speaking
from graphexec.node.fields import Blocker
from graphexec.node.spec import NodeSpec

POLL_SECONDS = 0.05
"""How long a cancellation may go unseen while only asynchronous nodes are at work."""

Outcome = Collected | Raised | BaseException


@dataclass(slots=True)
class AsyncCalls:
    """The asynchronous nodes now at work; the loop is made with the first."""

    _loop: asyncio.AbstractEventLoop | None = None
    _tasks: dict[str, asyncio.Task[Collected]] = field(default_factory=dict[str, "asyncio.Task[Collected]"])

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self, name: str, arguments: Arguments, collected: Collected, on_block: Callable[[Blocker], None]) -> None:
        """Set a node to work."""
        self._loop = self._loop or asyncio.new_event_loop()
        self._tasks[name] = self._loop.create_task(_call_all(arguments, collected, on_block))

    def finished(self, *, wait: bool, cancel: CancelToken) -> Iterator[tuple[str, Outcome]]:
        """Nodes that are done by now; with `wait`, blocks until one is."""
        if self._loop is None or not self._tasks:
            return
        self._loop.run_until_complete(asyncio.sleep(0))
        while wait and not any(task.done() for task in self._tasks.values()):
            cancel.check()
            some = asyncio.wait(self._tasks.values(), timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            self._loop.run_until_complete(some)
        for name in [name for name, task in self._tasks.items() if task.done()]:
            yield name, _outcome(self._tasks.pop(name))

    def close(self) -> None:
        """Stop what is still at work, tasks that nodes made and left among it."""
        if self._loop is None:
            return
        tasks = {*self._tasks.values(), *asyncio.all_tasks(self._loop)}
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _call_all(arguments: Arguments, collected: Collected, on_block: Callable[[Blocker], None]) -> Collected:
    """Make the calls of a node, all at once; results keep their order."""
    while collected.done < arguments.calls:  # a lazy list that was called may ask for more calls
        calls = [_call(collected.spec, arguments, call) for call in range(collected.done, arguments.calls)]
        for returned in await _together(calls):
            failure = answer(collected, returned, on_block)
            if failure is not None:
                raise failure.error
    return collected


async def _call(spec: NodeSpec, arguments: Arguments, call: int) -> Any:
    blocker = arguments.blocker(call)
    if blocker is not None:
        return Unanswered(blocker)
    try:
        return await spec.function(**arguments.of(call))
    except Unanswered as left:
        return left
    except SystemExit as asked:  # let out of a task, it would end the loop
        raise refusal(asked) from asked


async def _together(calls: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """What the calls return; when one raises, the others are stopped before that goes on."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _outcome(task: asyncio.Task[Collected]) -> Outcome:
    if task.cancelled():
        return Raised(RuntimeError("the node cancelled its own task"))
    error = task.exception()
    if error is None:
        return task.result()
    return Raised(speaking(error)) if isinstance(error, Exception) and not isinstance(error, Cancelled) else error
