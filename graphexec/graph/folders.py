"""Where files of models lie, and what a workflow may call them; ComfyUI's folders, without its table to change."""

from __future__ import annotations

import difflib
import heapq
import importlib.resources
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

from graphexec.errors import FolderError, MissingFileError, ModelPathsError

__all__ = ["ENVIRONMENT", "PICTURES", "Folders", "MissingModelFile", "relative_path"]

ENVIRONMENT = "GRAPHEXEC_MODELS"
"""The environment variable that names model folders, separated as in PATH."""

_WEIGHTS = frozenset({".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin"})
_ANY = frozenset[str]()


@dataclass(frozen=True, slots=True)
class _Kind:
    """Subfolders of a models folder in which files of a kind lie, and how their names end (empty: any way)."""

    subfolders: tuple[str, ...]
    suffixes: frozenset[str] = _WEIGHTS


_KINDS: Mapping[str, _Kind] = {
    "checkpoints": _Kind(("checkpoints",)),
    "clip_vision": _Kind(("clip_vision",)),
    "configs": _Kind(("configs",), frozenset({".yaml", ".yml", ".json"})),
    "controlnet": _Kind(("controlnet", "t2i_adapter")),
    "diffusers": _Kind(("diffusers",), frozenset({".json"})),
    "diffusion_models": _Kind(("unet", "diffusion_models")),
    "embeddings": _Kind(("embeddings",)),
    "gligen": _Kind(("gligen",)),
    "hypernetworks": _Kind(("hypernetworks",)),
    "input": _Kind(("input",), _ANY),
    "loras": _Kind(("loras",)),
    "output": _Kind((), _ANY),
    "photomaker": _Kind(("photomaker",)),
    "style_models": _Kind(("style_models",)),
    "temp": _Kind((), _ANY),
    "text_encoders": _Kind(("text_encoders", "clip")),
    "upscale_models": _Kind(("upscale_models",)),
    "vae": _Kind(("vae",)),
    "vae_approx": _Kind(("vae_approx",)),
}
_FOLDERS_OF: Mapping[str, str] = {"input_folders": "input"}
"""Kinds whose names are those of folders that hold files of another kind."""
PICTURES = frozenset({"input", "input_folders", "output", "temp"})
"""Kinds that need not lie in a folder of models."""
_LEGACY: Mapping[str, str] = {"clip": "text_encoders", "unet": "diffusion_models", "t2i_adapter": "controlnet"}
_PICTURE_FOLDER = re.compile(r"(?P<name>.+) \[(?P<kind>input|output|temp)\]", re.DOTALL)
"""ComfyUI's way to name a picture of another folder: `ComfyUI_00001_.png [output]`."""


_LONGEST_PATHS = 2**20
"""Bytes of a file like extra_model_paths.yaml; devices have no end."""
_DRIVE = re.compile(r"[A-Za-z]:")
_COMMENT = re.compile(r"(^|\s)#.*")
_TRUTH: Mapping[str, bool] = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class MissingModelFile(MissingFileError):
    """No folder of a kind holds a file of this name."""

    def __init__(self, kind: str, name: str, nearest: tuple[str, ...], searched: tuple[Path, ...]) -> None:
        self.kind = kind
        self.name = name
        self.nearest = nearest
        """Up to three names that are there and look like it."""
        self.searched = searched
        """The folders that were looked into."""
        places = ", ".join(map(str, searched)) or "no folder (there is none for this kind)"
        super().__init__(f"there is no file {name!r} in {kind}; looked into {places}")


@dataclass(frozen=True, slots=True)
class Folders:
    """For each kind of file (`checkpoints`, `loras` …) the folders to look into, in their order."""

    roots: Mapping[str, tuple[Path, ...]]
    _names: dict[str, list[str]] = field(default_factory=dict[str, list[str]], compare=False, repr=False)

    @classmethod
    def from_roots(cls, *model_roots: str | Path) -> Folders:
        """Folders laid out as ComfyUI's `models`; subfolders need not be there."""
        tops = [Path(root).absolute() for root in model_roots]
        return cls({name: tuple(top / sub for top in tops for sub in kind.subfolders) for name, kind in _KINDS.items()})

    @classmethod
    def from_extra_model_paths(cls, yaml_path: str | Path) -> Folders:
        """Folders named in ComfyUI's extra_model_paths.yaml; those of a default section come first.

        Raises FolderError if the file cannot be read or is not of that form.
        """
        roots: dict[str, tuple[Path, ...]] = {}
        for section in _read_sections(Path(yaml_path)):
            for kind, paths in section.folders:
                known = roots.get(kind, ())
                roots[kind] = paths + known if section.is_default else known + paths
        return cls(roots)

    @classmethod
    def standard(
        cls,
        models: Sequence[str | Path] = (),
        extra: Sequence[str | Path] = (),
        environ: Mapping[str, str] = os.environ,
        *,
        input_dir: str | Path = "input",
        output_dir: str | Path = "output",
    ) -> Folders:
        """The usual places, first found first taken.

        Args:
            models: folders laid out as ComfyUI's `models`. They come first, then those of GRAPHEXEC_MODELS.
            extra: files like ComfyUI's extra_model_paths.yaml. After them `./models`, and what the package brings.
            environ: where to look for GRAPHEXEC_MODELS.
            input_dir: pictures to load.
            output_dir: pictures that were made, which a workflow may load again.

        Raises FolderError if a folder or file that was named is not there.
        """
        pictures = {"input": Path(input_dir), "output": Path(output_dir), "temp": Path(output_dir) / "temp"}
        named = [Path(text) for text in environ.get(ENVIRONMENT, "").split(os.pathsep) if text]
        shipped = importlib.resources.files("graphexec") / "models"
        found = [path for path in (Path("models"), shipped) if isinstance(path, Path)]
        return _joined(
            [
                cls({kind: (path.absolute(),) for kind, path in pictures.items()}),
                cls.from_roots(*_existing("a models folder that was asked for", models)),
                cls.from_roots(*_existing(f"a folder of {ENVIRONMENT}", named)),
                *map(cls.from_extra_model_paths, extra),
                cls.from_roots(*found),
            ]
        )

    def resolve(self, kind: str, name: str) -> Path:
        """The file that a workflow calls `name`, e.g. `sd15/style.safetensors`; `\\` separates folders too.

        The kind `input_folders` is folders below those of `input`.

        Raises FolderError for a name that leaves its folder, MissingModelFile if there is no such file.
        """
        kind = _LEGACY.get(kind, kind)
        if kind == "input" and (match := _PICTURE_FOLDER.fullmatch(name)):
            name, kind = match["name"], match["kind"]
        is_there = _is_folder if kind in _FOLDERS_OF else _is_file
        roots = self.roots.get(_FOLDERS_OF.get(kind, kind), ())
        relative = relative_path(kind, name)
        for root in roots:
            path = root / relative
            if is_there(path):
                if _has_link(path, root) and not _inside(path, roots):
                    raise FolderError(
                        f"{name!r} in {kind} is a link out of its folder, to {path.resolve()}; to use files from there,"
                        " add that folder to the models folders"
                    )
                return path
        raise MissingModelFile(kind, name, _nearest(name, self.names(kind)), roots)

    def names(self, kind: str) -> list[str]:
        """What there is of a kind, as workflows name it, sorted; as it was when first asked for."""
        kind = _LEGACY.get(kind, kind)
        if kind in _FOLDERS_OF:
            above = {str(folder) for name in self.names(_FOLDERS_OF[kind]) for folder in PurePosixPath(name).parents}
            return sorted(above - {"."})
        if kind not in self._names:
            roots = self.roots.get(kind, ())
            suffixes = _KINDS[kind].suffixes if kind in _KINDS else _WEIGHTS
            found = {name for root in roots for name in _walk(root, roots)}
            self._names[kind] = sorted(
                name for name in found if not suffixes or PurePosixPath(name).suffix.lower() in suffixes
            )
        return list(self._names[kind])


def _joined(parts: Iterable[Folders]) -> Folders:
    roots: dict[str, tuple[Path, ...]] = {}
    for part in parts:
        for kind, paths in part.roots.items():
            known = roots.get(kind, ())
            roots[kind] = known + tuple(path for path in dict.fromkeys(paths) if path not in known)
    return Folders(roots)


def _existing(what: str, paths: Sequence[str | Path]) -> list[Path]:
    found = [_at_home(Path(path)) for path in paths]
    absent = [str(path.absolute()) for path in found if not _is_folder(path)]
    if absent:
        raise FolderError(f"{what} is not there: {' and '.join(absent)}; make it, or correct the path")
    return found


def _at_home(path: Path) -> Path:
    """The path with `~` read as the user's folder, or as it is where there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


# Names


def relative_path(kind: str, name: str) -> PurePosixPath:
    """A workflow's name for a file as a path below a root. Raises FolderError if it might leave it."""
    path = PurePosixPath(name.replace("\\", "/"))
    why = None
    if "\0" in name:
        why = "it has a NUL character"
    elif path.is_absolute():
        why = "it is an absolute path"
    elif _DRIVE.match(name):
        why = "it names a drive"
    elif ".." in path.parts:
        why = "it has '..' in it"
    if why:
        raise FolderError(
            f"{name!r} is not allowed as the name of a file in {kind}: {why}; name a file below the folder"
        )
    return path


def _is_file(path: Path) -> bool:
    return _looked_at(path, Path.is_file)


def _is_folder(path: Path) -> bool:
    return _looked_at(path, Path.is_dir)


def _looked_at(path: Path, test: Callable[[Path], bool]) -> bool:
    try:
        return test(path)
    except PermissionError as error:
        raise FolderError(f"{path} cannot be looked at: {error.strerror}; correct the permissions") from error
    except OSError:  # e.g. a name longer than any file's
        return False


def _has_link(path: Path, root: Path) -> bool:
    while path != root:
        if path.is_symlink():
            return True
        path = path.parent
    return False


def _inside(path: Path, roots: Iterable[Path]) -> bool:
    try:
        real = path.resolve()
        return any(real.is_relative_to(root.resolve()) for root in roots)
    except (OSError, RuntimeError):  # a loop of links
        return False


def _nearest(name: str, names: Sequence[str]) -> tuple[str, ...]:
    wanted = name.replace("\\", "/").casefold()
    folded = {known.casefold(): known for known in names}
    # difflib takes a fifth of a millisecond a name, and there are folders of thousands.
    pieces = [wanted[start : start + 3] for start in range(len(wanted) - 2)]
    some = pieces[:: max(1, len(pieces) // 10)]
    likely = _sharing(pieces, _sharing(some, folded, 500), 50)
    alike = [folded[fold] for fold in difflib.get_close_matches(wanted, likely, n=3)]
    stem, suffix = _stem(wanted)
    namesakes = [fold for fold in folded if stem in fold and _stem(fold)[0] == stem]
    namesakes.sort(key=lambda fold: (fold != wanted, _stem(fold)[1] != suffix, fold))
    return tuple(dict.fromkeys([*(folded[fold] for fold in namesakes), *alike]))[:3]


def _stem(name: str) -> tuple[str, str]:
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    return stem, suffix


def _sharing(pieces: Iterable[str], names: Iterable[str], most: int) -> list[str]:
    """Those of the names that have the most of the pieces."""
    return heapq.nlargest(most, names, key=lambda name: sum(map(name.__contains__, pieces)))


def _walk(root: Path, roots: Sequence[Path]) -> Iterator[str]:
    """The names of all files below a root that its links do not lead out of."""
    pending: list[tuple[str, Path, tuple[str, ...]]] = [("", root, ())]
    while pending:
        prefix, folder, above = pending.pop()
        real = os.path.realpath(folder)  # Path.resolve raises where the folder is a link to itself
        if real in above:
            continue
        for entry in _visible(folder, roots):
            if entry.is_dir():
                pending.append((f"{prefix}{entry.name}/", Path(entry.path), (*above, real)))
            else:
                yield prefix + entry.name


def _visible(folder: Path, roots: Sequence[Path]) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            hidden = entry.name.startswith(".")
            if not hidden and (
                not entry.is_symlink() or (_inside(Path(entry.path), roots) and Path(entry.path).exists())
            ):
                yield entry


# extra_model_paths.yaml


@dataclass(frozen=True, slots=True)
class _Section:
    is_default: bool
    folders: list[tuple[str, tuple[Path, ...]]]


def _read_sections(yaml_path: Path) -> list[_Section]:
    import yaml  # few have such a file, and importing this takes a tenth of a check

    try:
        with yaml_path.open("rb") as file:
            data = file.read(_LONGEST_PATHS + 1)
        if len(data) > _LONGEST_PATHS:
            raise ModelPathsError(f"{yaml_path} is longer than {_LONGEST_PATHS} bytes: it is no file of model paths")
        # The base loader reads every scalar as text: no dates, no numbers in place of names.
        document: Any = yaml.load(data, Loader=yaml.BaseLoader)
    except OSError as error:
        raise FolderError(f"{yaml_path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ModelPathsError(f"{yaml_path} cannot be read as YAML: {error}") from error
    sections = _mapping(document, f"{yaml_path}")
    return [_section(yaml_path, name, body) for name, body in sections.items()]


def _section(yaml_path: Path, name: str, body: Any) -> _Section:
    place = f"{yaml_path}, section {name!r}"
    texts = {key: _text(value, f"{place}, {key!r}") for key, value in _mapping(body, place).items()}
    base = _expanded(texts.pop("base_path", ""), yaml_path.absolute().parent, f"{place}, 'base_path'")
    default = texts.pop("is_default", "false").casefold()
    if default not in _TRUTH:
        raise ModelPathsError(f"{place}, 'is_default': expected true or false, not {default!r}")
    folders = [(_LEGACY.get(kind, kind), _paths(text, base, f"{place}, {kind!r}")) for kind, text in texts.items()]
    return _Section(_TRUTH[default], folders)


def _paths(text: str, base: Path, place: str) -> tuple[Path, ...]:
    lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
    return tuple(_expanded(line, base, place) for line in lines if line)


def _expanded(text: str, base: Path, place: str) -> Path:
    try:
        return base / Path(os.path.expandvars(text)).expanduser()
    except RuntimeError as error:
        raise ModelPathsError(f"{place}: {text!r} cannot be found: {error}") from error


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if value in (None, ""):
        return {}
    if isinstance(value, dict):
        found = cast("dict[Any, Any]", value)
        if all(isinstance(key, str) for key in found):
            return cast("dict[str, Any]", found)
    raise ModelPathsError(f"{place}: expected names with values, as in ComfyUI's extra_model_paths.yaml, not {value!r}")


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise ModelPathsError(f"{place}: expected a text with one folder a line, not {value!r}")
    return value
