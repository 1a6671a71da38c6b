"""Weights of captioners: in a folder of their own, or in the cache of the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graphexec.errors import MissingFileError, ModelFileError

__all__ = ["Weights"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a captioner's files are looked for.

    `folder` holds them itself; without it the hub's cache is asked for `repository`, and the hub itself only with
    `download`.
    """

    repository: str
    folder: Path | None = None
    download: bool = False

    def find(self, *files: str) -> Path:
        """The folder that holds these files; raises ModelFileError, which names what to download and where to.

        `a|b` stands for either of two files.
        """
        folder = self.folder or self._cached(files)
        missing = [file for file in files if not any((folder / name).is_file() for name in file.split("|"))]
        if missing:
            raise MissingFileError(f"{folder} lacks {_or(missing)}\n{self._advice(missing, folder)}")
        return folder

    def _cached(self, files: tuple[str, ...]) -> Path:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        names = [name for file in files for name in file.split("|")]
        try:
            found = snapshot_download(self.repository, allow_patterns=names, local_files_only=not self.download)
        except HFValidationError as error:
            raise ModelFileError(f"{self.repository!r} is no repository of the Hugging Face Hub: {error}") from error
        except LocalEntryNotFoundError as error:
            where = f"{self.repository} is not in the hub's cache {constants.HF_HUB_CACHE}"
            raise MissingFileError(f"{where}{self._failed(error)}\n{self._advice(files, None)}") from error
        return Path(found)

    def _failed(self, error: Exception) -> str:
        return f" and cannot be downloaded: {error}" if self.download else ""

    def _advice(self, files: list[str] | tuple[str, ...], folder: Path | None) -> str:
        addresses = (f"  https://huggingface.co/{self.repository}/resolve/main/{file.split('|')[0]}" for file in files)
        where = f"{folder}" if self.folder else "a folder, and name that folder with --weights"
        also = "" if self.folder or self.download else ", or add --download"
        return "\n".join([f"download into {where}{also}:", *addresses])


def _or(files: list[str]) -> str:
    return ", ".join(" or ".join(file.split("|")) for file in files)
