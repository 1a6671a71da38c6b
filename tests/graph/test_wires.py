"""Which output may feed which input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.graph.wires import compatible

names = st.sampled_from(["INT", "FLOAT", "A", "B", "C"])
unions = st.lists(names, min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("received", "expected", "fits"),
    [
        ("MODEL", "MODEL", True),
        ("MODEL", "CLIP", False),
        ("FLOAT", "INT", False),
        ("INT", "FLOAT", False),
        ("STRING", "COMBO", False),
        ("model", "MODEL", False),
        ("A", "A,B", True),
        ("A,B", "B,C", True),
        ("A,B", "B", True),
        ("A , B", " B,C ", True),
        ("A,B", "C,D", False),
        ("AB", "A,B", False),
        ("*", "MODEL", True),
        ("MODEL", "*", True),
        ("*", "*", True),
        ("A,*", "MODEL", True),
        ("MODEL", "A,*", True),
    ],
)
def test_the_rule(received: str, expected: str, fits: bool) -> None:
    assert compatible(received, expected) is fits


@given(unions, unions)
def test_unions_meet_where_they_overlap(sent: list[str], taken: list[str]) -> None:
    assert compatible(",".join(sent), ", ".join(taken)) == any(name in taken for name in sent)
    assert compatible(",".join(taken), ",".join(sent)) == compatible(",".join(sent), ",".join(taken))
