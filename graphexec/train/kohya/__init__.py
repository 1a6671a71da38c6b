"""Reads sd-scripts' settings (TOML, JSON, command lines, dataset TOML) as a `TrainConfig`.

`keys` is the one table of what each option does here; every option is followed, of no consequence, or refused.
"""

from graphexec.train.kohya.faults import ConfigError, Fault
from graphexec.train.kohya.reading import Reading, read_command, read_file

__all__ = ["ConfigError", "Fault", "Reading", "read_command", "read_file"]
