"""What is wrong or noteworthy in the settings of a training run: all of it, each with its place and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from graphexec.errors import GraphexecError

__all__ = ["ConfigError", "Fault", "Faults"]

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding: in which file (or on the command line), at which key, what is the matter and what to do."""

    code: str
    source: str
    key: str
    message: str
    hint: str | None = None
    severity: Severity = "error"
    missing_file: bool = False

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.source, self.key) if part)
        head = f"{self.severity}: {place}: {self.message} [{self.code}]"
        return f"{head}\n  hint: {self.hint}" if self.hint else head


class ConfigError(GraphexecError):
    """The settings of a training run cannot be followed; `faults` holds everything that was found."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults if fault.severity == "error"))


@dataclass(slots=True)
class Faults:
    """Collects findings; nothing stops at the first."""

    found: list[Fault] = field(default_factory=list[Fault])

    def error(self, code: str, source: str, key: str, message: str, hint: str | None = None) -> None:
        """Something that prevents the run."""
        self.found.append(Fault(code, source, key, message, hint))

    def missing(self, source: str, key: str, message: str, hint: str | None = None) -> None:
        """A file or folder that is not there."""
        self.found.append(Fault("missing_file", source, key, message, hint, missing_file=True))

    def warn(self, code: str, source: str, key: str, message: str, hint: str | None = None) -> None:
        """Something that is likely not what was meant."""
        self.found.append(Fault(code, source, key, message, hint, "warning"))

    def note(self, code: str, source: str, key: str, message: str) -> None:
        """Something worth knowing."""
        self.found.append(Fault(code, source, key, message, None, "note"))

    def refused(self, key: str) -> bool:
        """Whether a key was given a value that it cannot have, wherever it stands."""
        return any(fault.code == "wrong_value" and fault.key.rpartition(".")[2] == key for fault in self.found)

    @property
    def errors(self) -> tuple[Fault, ...]:
        """What prevents the run."""
        return tuple(fault for fault in self.found if fault.severity == "error")

    def check(self) -> None:
        """Raise `ConfigError` if anything prevents the run."""
        if self.errors:
            raise ConfigError(self.found)
