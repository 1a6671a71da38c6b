"""Where what was recorded is compared: on the CPU, and again on a GPU if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from parity.agreement import CPU, PLACES, Agreement, Place


@pytest.fixture(scope="module", params=PLACES, ids=str)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A device and a precision; skips those of a GPU where there is none."""
    found: Place = request.param
    if found == CPU:
        yield found
        return
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device; the recorded numbers are compared on the CPU alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "allow_tf32", False)  # convolutions in float32 as they are on the CPU
        yield found


@pytest.fixture
def agrees(record_property: Callable[[str, object], None], place: Place) -> Agreement:
    """Compares with recorded results, by the tolerance of the place."""
    return Agreement(record_property, place)
