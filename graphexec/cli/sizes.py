"""Sizes in bytes, as people write and read them."""

from __future__ import annotations

import re

import click

UNITS = ("B", "KB", "MB", "GB", "TB")


def show_size(size: int) -> str:
    """`1.5 GB`; a kilobyte has 1,000 bytes."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {UNITS[unit]}" if value < 999.5 else f"{value:.0f} {UNITS[unit]}"


def parse_size(text: str) -> int:
    """The bytes of `500MB`, `5 GB`, `5GiB` or `1000`; raises BadParameter for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", text.strip().upper(), re.ASCII)
    if match is None:
        raise click.BadParameter(f"{text!r} is no size; write 500MB or 5GB")
    step = 1024 if match[3] else 1000
    return int(float(match[1]) * step ** " KMGT".index(match[2] or " "))
