"""The ways to run a plan: wait for it, on a thread beside an event loop, or as a stream of its events."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

from graphexec.graph import events
from graphexec.graph.context import CancelToken, Context
from graphexec.graph.execution import Execution
from graphexec.graph.plan import Plan
from graphexec.graph.result import Result
from graphexec.node.boundary import let_go


def run(plan: Plan, context: Context | None = None) -> Result:
    """Run a plan and wait for it; raises Cancelled if it was asked to stop. Failures are in the result.

    Raises ModelFileError for a plan that was compiled without looking for its files.
    """
    context = context or Context()
    if not _in_event_loop():
        return _light(Execution.of(plan, context).run())
    token = CancelToken(context.cancel)
    with ThreadPoolExecutor(1) as pool:  # the loop of asynchronous nodes cannot run inside another
        try:
            execution = Execution.of(plan, replace(context, cancel=token))
            return _light(pool.submit(contextvars.copy_context().run, execution.run).result())
        finally:
            token.cancel()  # where an interrupt ended the waiting


async def run_async(plan: Plan, context: Context | None = None) -> Result:
    """As `run`, on a thread of its own; cancelling the task stops the run at its next step."""
    context = context or Context()
    token = CancelToken(context.cancel)
    pool = ThreadPoolExecutor(1)  # not the loop's, whose few threads other work waits for
    try:
        asked = partial(run, plan, replace(context, cancel=token))
        return await asyncio.get_running_loop().run_in_executor(pool, contextvars.copy_context().run, asked)
    finally:
        token.cancel()
        pool.shutdown(wait=False)


def stream(plan: Plan, context: Context | None = None) -> Generator[events.Event, None, Result]:
    """Run a plan and yield its events as they come; closing the generator stops the run.

    Returns what `run` returns and raises what it raises, after the last event.
    """
    context = context or Context()
    token = CancelToken(context.cancel)
    queue: SimpleQueue[events.Event | None] = SimpleQueue()

    def tell(event: events.Event) -> None:
        context.on_event(event)
        queue.put(event)

    with ThreadPoolExecutor(1) as pool:
        asked = partial(run, plan, replace(context, cancel=token, on_event=tell))
        job = pool.submit(contextvars.copy_context().run, asked)
        job.add_done_callback(lambda _: queue.put(None))
        try:
            yield from iter(queue.get, None)
            return job.result()
        finally:
            token.cancel()


def _light(result: Result) -> Result:
    """The result, whose failures hold no more of the run: a host may keep it for long."""
    let_go(failure.__cause__ for failure in result.failures.values())
    return result


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
