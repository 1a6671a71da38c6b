"""`python -m graphexec` is the `graphexec` command."""

from __future__ import annotations

from graphexec.cli.main import main

if __name__ == "__main__":
    main()
