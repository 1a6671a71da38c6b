from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.errors import FolderError, ModelFileError
from graphexec.graph.folders import ENVIRONMENT, Folders, MissingModelFile


def place(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return place(
        tmp_path / "models",
        "checkpoints/sd15.safetensors",
        "loras/sd15/style.safetensors",
        "loras/Detail.safetensors",
        "clip/old.safetensors",
        "text_encoders/new.safetensors",
        "unet/flux.gguf",
        "configs/v1.yaml",
    )


@pytest.fixture
def folders(models: Path) -> Folders:
    return Folders.from_roots(models)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# Names


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        ("checkpoints", "sd15.safetensors", "checkpoints/sd15.safetensors"),
        ("loras", "sd15/style.safetensors", "loras/sd15/style.safetensors"),
        ("loras", "sd15\\style.safetensors", "loras/sd15/style.safetensors"),
        ("loras", "./sd15//style.safetensors", "loras/sd15/style.safetensors"),
        ("clip", "old.safetensors", "clip/old.safetensors"),
        ("clip", "new.safetensors", "text_encoders/new.safetensors"),
        ("text_encoders", "old.safetensors", "clip/old.safetensors"),
        ("diffusion_models", "flux.gguf", "unet/flux.gguf"),
        ("unet", "flux.gguf", "unet/flux.gguf"),
    ],
)
def test_a_name_is_found(folders: Folders, models: Path, kind: str, name: str, found: str) -> None:
    assert folders.resolve(kind, name) == models / found


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../checkpoints/sd15.safetensors", "'..'"),
        ("sd15/../../checkpoints/sd15.safetensors", "'..'"),
        ("sd15\\..\\..\\checkpoints\\sd15.safetensors", "'..'"),
        ("..", "'..'"),
        ("/etc/passwd", "absolute"),
        ("\\\\server\\share\\x.safetensors", "absolute"),
        ("C:\\models\\x.safetensors", "drive"),
        ("c:x.safetensors", "drive"),
        ("a\0.safetensors", "NUL"),
    ],
)
def test_a_name_may_not_leave_its_folder(folders: Folders, name: str, why: str) -> None:
    with pytest.raises(FolderError, match="not allowed as the name of a file in loras") as caught:
        folders.resolve("loras", name)
    assert why in str(caught.value)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "link", "checkpoints", "x.safetensors", "/", "\\", "C:"])))
def test_no_name_whatever_leads_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "models_jail" / "models"
    if not root.exists():
        place(root, "loras/x.safetensors", "loras/a/x.safetensors", "x.safetensors", "../x.safetensors")
        (root / "loras/link").symlink_to(root)
    try:
        found = Folders.from_roots(root).resolve("loras", "/".join(parts))
    except (FolderError, MissingModelFile):
        return
    assert found.resolve().is_relative_to(root / "loras")


def test_a_link_may_not_lead_out_of_every_root(folders: Folders, models: Path, tmp_path: Path) -> None:
    place(tmp_path, "secret/x.safetensors")
    (models / "loras/file.safetensors").symlink_to(tmp_path / "secret/x.safetensors")
    (models / "loras/folder").symlink_to(tmp_path / "secret")
    (models / "loras/inside.safetensors").symlink_to("sd15/style.safetensors")
    for name in ("file.safetensors", "folder/x.safetensors"):
        with pytest.raises(FolderError, match="link out of its folder") as caught:
            folders.resolve("loras", name)
        assert str(tmp_path / "secret/x.safetensors") in str(caught.value)
    assert folders.resolve("loras", "inside.safetensors") == models / "loras/inside.safetensors"
    assert folders.names("loras") == ["Detail.safetensors", "inside.safetensors", "sd15/style.safetensors"]
    both = Folders({"loras": (models / "loras", tmp_path / "secret")})
    assert both.resolve("loras", "file.safetensors") == models / "loras/file.safetensors"


def test_a_root_may_itself_be_a_link(models: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(models)
    found = Folders.from_roots(tmp_path / "alias").resolve("loras", "sd15/style.safetensors")
    assert found == tmp_path / "alias/loras/sd15/style.safetensors"


def test_a_root_that_is_a_link_to_itself_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "loras").symlink_to("loras")
    folders = Folders.from_roots(tmp_path)
    assert folders.names("loras") == []
    with pytest.raises(MissingModelFile):
        folders.resolve("loras", "x.safetensors")


def test_the_first_root_that_has_it_wins(models: Path, tmp_path: Path) -> None:
    other = place(tmp_path / "other", "loras/Detail.safetensors", "loras/only.safetensors")
    folders = Folders.from_roots(other, models)
    assert folders.resolve("loras", "Detail.safetensors") == other / "loras/Detail.safetensors"
    assert folders.names("loras") == ["Detail.safetensors", "only.safetensors", "sd15/style.safetensors"]


@pytest.mark.parametrize("name", ["", ".", "sd15", "sd15/", "Detail.safetensors/x", "x" * 300, "\ud800", "gone.pt"])
def test_what_is_no_file_is_missing(folders: Folders, models: Path, name: str) -> None:
    (models / "loras/gone.pt").symlink_to("nowhere")
    with pytest.raises(MissingModelFile):
        folders.resolve("loras", name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("detail.safetensors", ("Detail.safetensors",)),
        ("style.safetensors", ("sd15/style.safetensors",)),
        ("sdxl\\Style.safetensors", ("sd15/style.safetensors",)),
        ("sd15/styel.safetensors", ("sd15/style.safetensors",)),
        ("Detail.ckpt", ("Detail.safetensors",)),
        ("zzz", ()),
    ],
)
def test_a_missing_file_names_what_is_near(folders: Folders, models: Path, name: str, nearest: tuple[str, ...]) -> None:
    with pytest.raises(ModelFileError) as caught:
        folders.resolve("loras", name)
    assert isinstance(caught.value, MissingModelFile)
    assert caught.value.nearest[:1] == nearest
    assert caught.value.searched == (models / "loras",)
    assert str(models / "loras") in str(caught.value)


def test_at_most_three_are_near(tmp_path: Path) -> None:
    place(tmp_path, *(f"loras/style_{number:03}.safetensors" for number in range(200)))
    with pytest.raises(MissingModelFile) as caught:
        Folders.from_roots(tmp_path).resolve("loras", "style_1x7.safetensors")
    assert len(caught.value.nearest) == 3
    assert all(name.startswith("style_1") for name in caught.value.nearest)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("zebrs.safetensors", "zebra.safetensors"),
        ("anime_zebra_in_a_medow_at_night_v2.safetensors", "anime_zebra_in_a_meadow_at_night_v2.safetensors"),
    ],
)
def test_what_is_near_is_found_among_thousands(tmp_path: Path, name: str, nearest: str) -> None:
    others = (f"anime_{number:04}_in_a_forest_at_night_v{number % 7}.safetensors" for number in range(2000))
    place(tmp_path, *(f"loras/{each}" for each in [*others, "zebra.safetensors", nearest]))
    with pytest.raises(MissingModelFile) as caught:
        Folders.from_roots(tmp_path).resolve("loras", name)
    assert caught.value.nearest[:1] == (nearest,)


def test_an_unknown_kind_has_no_files(folders: Folders) -> None:
    assert folders.names("ipadapter") == []
    with pytest.raises(MissingModelFile, match="there is none for this kind"):
        folders.resolve("ipadapter", "x.safetensors")


def test_listings_hold_models_and_nothing_else(folders: Folders, models: Path) -> None:
    place(models / "loras", "readme.md", ".hidden.safetensors", ".git/x.safetensors", "UPPER.PT", "pictures/style.png")
    (models / "loras/sd15/loop").symlink_to(models / "loras")
    assert folders.names("loras") == ["Detail.safetensors", "UPPER.PT", "sd15/style.safetensors"]
    assert folders.names("clip") == folders.names("text_encoders") == ["new.safetensors", "old.safetensors"]
    assert folders.names("configs") == ["v1.yaml"]
    assert folders.names("vae") == []


# Standard places


def test_the_standard_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["given", "environment1", "environment2", "extra", "models"]
    for number, name in enumerate(names):
        place(tmp_path / name, *(f"loras/{later}.pt" for later in names[number:]))
    extra = written(tmp_path / "extra.yaml", "x:\n  base_path: extra\n  loras: loras")
    environ = {ENVIRONMENT: os.pathsep.join([str(tmp_path / "environment1"), "", str(tmp_path / "environment2")])}
    folders = Folders.standard([Path("given")], [extra], environ)
    # Each name is in its own place and all that come before it; without those, it is found in its own.
    assert {folders.resolve("loras", f"{name}.pt").parent.parent.name for name in names} == {"given"}
    folders = Folders.standard([], [extra], environ)
    assert folders.resolve("loras", "models.pt") == tmp_path / "environment1/loras/models.pt"
    folders = Folders.standard([], [extra], {})
    assert folders.resolve("loras", "models.pt") == tmp_path / "extra/loras/models.pt"
    folders = Folders.standard(environ={})
    assert folders.resolve("loras", "models.pt") == tmp_path / "models/loras/models.pt"
    assert folders.roots["loras"][0] == tmp_path / "models/loras"


def test_the_models_of_the_working_folder_are_looked_for_though_there_are_none_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = Folders.standard(environ={})
    assert folders.roots["checkpoints"][0] == tmp_path / "models/checkpoints"
    assert "graphexec-tiny.safetensors" in folders.names("checkpoints")


def test_places_may_be_named_by_strings(tmp_path: Path) -> None:
    place(tmp_path, "given/loras/a.pt", "extra/loras/b.pt", "in/x.png", "out/y.png")
    extra = written(tmp_path / "extra.yaml", "x:\n  base_path: extra\n  loras: loras")
    folders = Folders.standard(
        [f"{tmp_path}/given"], [str(extra)], {}, input_dir=f"{tmp_path}/in", output_dir=f"{tmp_path}/out"
    )
    assert folders.names("loras")[:2] == ["a.pt", "b.pt"]
    assert folders.resolve("input", "x.png") == tmp_path / "in/x.png"
    assert folders.resolve("input", "y.png [output]") == tmp_path / "out/y.png"
    assert Folders.from_roots(f"{tmp_path}/given").names("loras") == ["a.pt"]


def test_places_that_are_named_have_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"models folder that was asked for .*gone"):
        Folders.standard([tmp_path / "gone"], environ={})
    with pytest.raises(FolderError, match=r"GRAPHEXEC_MODELS .*gone"):
        Folders.standard(environ={ENVIRONMENT: str(tmp_path / "gone")})
    for nowhere in ("~nobody-of-this-name/models", "n" * 300):
        with pytest.raises(FolderError, match=r"models folder that was asked for is not there"):
            Folders.standard([nowhere], environ={})
    with pytest.raises(FolderError, match=r"gone.yaml cannot be read: No such file"):
        Folders.standard(extra=[tmp_path / "gone.yaml"], environ={})


def test_pictures_come_from_the_input_folder(tmp_path: Path) -> None:
    place(tmp_path, "in/a/x.png", "in/notes", "out/x.png", "out/temp/x.png")
    folders = Folders.standard(environ={}, input_dir=tmp_path / "in", output_dir=tmp_path / "out")
    assert folders.names("input") == ["a/x.png", "notes"]
    assert folders.resolve("input", "a/x.png") == tmp_path / "in/a/x.png"
    assert folders.resolve("input", "a/x.png [input]") == tmp_path / "in/a/x.png"
    assert folders.resolve("input", "x.png [output]") == tmp_path / "out/x.png"
    assert folders.resolve("input", "x.png [temp]") == tmp_path / "out/temp/x.png"
    with pytest.raises(FolderError):
        folders.resolve("input", "../out/x.png [output]")
    with pytest.raises(MissingModelFile):
        folders.resolve("input", "x.png")


def test_folders_of_the_input_folder_have_names_too(tmp_path: Path) -> None:
    place(tmp_path / "input", "top.png", "cats/a.png", "cats/10_sks/b.png")
    folders = Folders.standard(input_dir=tmp_path / "input")
    assert folders.names("input_folders") == ["cats", "cats/10_sks"]
    assert folders.resolve("input_folders", "cats/10_sks") == tmp_path / "input/cats/10_sks"
    for name, error in (("top.png", MissingModelFile), ("dogs", MissingModelFile), ("../input", FolderError)):
        with pytest.raises(error):
            folders.resolve("input_folders", name)


# extra_model_paths.yaml


def test_a_file_as_comfyui_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DISK", "/mnt/disk")
    path = written(
        tmp_path / "extra.yaml",
        """
        # comment
        a111:
            base_path: webui
            checkpoints: models/Stable-diffusion
            loras: |
                models/Lora
                models/LyCORIS   # older ones

            vae:
        home:
            base_path: ~/comfy
            clip: models/clip
        absolute:
            loras: $DISK/loras
            ipadapter: 2024
        main:
            is_default: true
            loras: |
                first
                second
        empty:
        """,
    )
    roots = Folders.from_extra_model_paths(path).roots
    assert roots["checkpoints"] == (tmp_path / "webui/models/Stable-diffusion",)
    assert roots["loras"] == (
        tmp_path / "first",
        tmp_path / "second",
        tmp_path / "webui/models/Lora",
        tmp_path / "webui/models/LyCORIS",
        Path("/mnt/disk/loras"),
    )
    assert roots["text_encoders"] == (Path("/home/me/comfy/models/clip"),)
    assert roots["ipadapter"] == (tmp_path / "2024",)
    assert roots["vae"] == ()


def test_an_empty_file_names_nothing(tmp_path: Path) -> None:
    assert Folders.from_extra_model_paths(written(tmp_path / "extra.yaml", "# nothing")).roots == {}


@pytest.mark.parametrize(
    ("text", "place_and_reason"),
    [
        ("a: [", "extra.yaml cannot be read as YAML"),
        ("[" * 600, "extra.yaml cannot be read as YAML"),
        ("- loras", r"extra.yaml: expected names with values"),
        ("loras: models", r"section 'loras': expected names with values.* not 'models'"),
        ("a: {loras: [x, y]}", r"section 'a', 'loras': expected a text"),
        ("a: {base_path: {x: y}}", r"section 'a', 'base_path': expected a text"),
        ("a: {is_default: perhaps}", r"section 'a', 'is_default': expected true or false, not 'perhaps'"),
        ("a: {base_path: ~nobody-here/x}", r"section 'a', 'base_path': '~nobody-here/x' cannot be found"),
        ("a: {? [x] : y}", "cannot be read as YAML"),
        ("#" * 2**21, "is no file of model paths"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, place_and_reason: str) -> None:
    with pytest.raises(FolderError, match=place_and_reason):
        Folders.from_extra_model_paths(written(tmp_path / "extra.yaml", text))
