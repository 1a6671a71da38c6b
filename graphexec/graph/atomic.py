"""Files that are there whole or not at all, whenever the process is stopped."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["claim", "claim_mark", "is_temporary", "need_writable", "sweep", "temporary", "write_atomic"]

STALE_SECONDS = 3600
"""A file of ours that has not changed for so long belongs to a process that was killed."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.gx-tmp")
_MARK = ".gx-claim"
"""How a name ends that says, where there are no hard links, that another name is being taken."""
_NO_LINKS = frozenset({errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EPERM})
"""What file systems without hard links answer."""


@contextmanager
def temporary(folder: Path, chunks: Iterable[bytes | memoryview], *, fsync: bool) -> Generator[Path]:
    """A new file in `folder` that holds `chunks`, on the disk itself with `fsync`. It is gone afterwards.

    Raises OSError.
    """
    path = folder / f".{secrets.token_hex(16)}.gx-tmp"
    try:
        with path.open("xb") as file:
            file.writelines(chunks)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        yield path
    finally:
        with suppress(OSError):
            path.unlink()


def need_writable(folder: Path) -> None:
    """Raises OSError where files cannot be made in a folder, or in what is there of the way to it; makes nothing."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a folder", str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no files may be made there", str(there))


def write_atomic(path: Path, chunks: Iterable[bytes | memoryview], *, fsync: bool) -> None:
    """Write a file, or replace it: other processes see the old one or the whole new one. Raises OSError."""
    with temporary(path.parent, chunks, fsync=fsync) as written:
        written.replace(path)


def claim(written: Path, path: Path) -> bool:
    """Give a finished file its final name, unless the name is taken; says whether it got it. Raises OSError."""
    try:
        path.hardlink_to(written)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _claim_without_links(written, path)
    return True


def claim_mark(path: Path) -> Path:
    """What is there for the moment in which a name is taken, where there are no hard links."""
    return path.with_name(f".{path.name}{_MARK}")


def is_temporary(name: str) -> bool:
    """Whether a file of this name was made by `temporary`."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(entries: Iterable[os.DirEntry[str]]) -> None:
    """Remove what a killed process left among these: temporary files, and marks of names that it was taking."""
    for entry in entries:
        if is_temporary(entry.name) or entry.name.endswith(_MARK):
            with suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE_SECONDS:
                    Path(entry.path).unlink()


def _claim_without_links(written: Path, path: Path) -> bool:
    # A rename would replace a file that is there; whoever holds the claim may look first.
    mark = claim_mark(path)
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    try:
        if path.exists() or path.is_symlink():
            return False
        written.replace(path)
    finally:
        mark.unlink(missing_ok=True)
    return True
