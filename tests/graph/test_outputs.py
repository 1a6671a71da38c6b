from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.errors import OutputError
from graphexec.graph.outputs import OutputFolder, PublishedRecord
from graphexec.node.fields import Artifact, Artifacts

MOMENT = datetime(2026, 3, 5, 7, 8, 9)


def publish(root: Path, prefix: str, count: int = 1, suffix: str = ".png") -> list[str]:
    """Publish files and return their paths below the root."""
    files = tuple(Artifact(b"%d" % i, prefix, suffix, width=640, height=480, place=i) for i in range(count))
    paths = OutputFolder(root, now=lambda: MOMENT).publish(Artifacts(files))
    assert [path.read_bytes() for path in paths] == [b"%d" % i for i in range(count)]
    return [path.relative_to(root).as_posix() for path in paths]


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())


# Numbers


def test_files_are_numbered_as_comfyui_numbers_them(tmp_path: Path) -> None:
    root = tmp_path / "output"
    assert publish(root, "ComfyUI") == ["ComfyUI_00001_.png"]
    assert publish(root, "ComfyUI", 3) == [f"ComfyUI_{number:05}_.png" for number in (2, 3, 4)]
    assert publish(root, "sub/deep/ComfyUI") == ["sub/deep/ComfyUI_00001_.png"]
    assert publish(root, "sub\\deep\\ComfyUI") == ["sub/deep/ComfyUI_00002_.png"]
    assert publish(root, "sub/") == ["sub_00001_.png"]
    assert publish(root, "") == ["_00001_.png"]


@pytest.mark.parametrize(
    ("there", "number"),
    [
        ([], 1),
        (["a_00007_.png", "a_00003_.png"], 8),
        (["a_00007_.webp", "a_00009_mask.json"], 10),
        (["a_12"], 13),
        (["a_99999_.png"], 100_000),
        (["a_00007.png", "a_x_00008_.png", "b_00009_.png", "a00009_.png", "xa_00009_.png", "a__9_"], 1),
        (["a_00008_/"], 9),
    ],
)
def test_the_number_follows_the_highest_one_of_the_prefix(tmp_path: Path, there: list[str], number: int) -> None:
    for name in there:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    assert publish(tmp_path, "a") == [f"a_{number:05}_.png"]


def test_prefixes_are_literal(tmp_path: Path) -> None:
    (tmp_path / "axc_00005_.png").touch()
    assert publish(tmp_path, "a.c") == ["a.c_00001_.png"]
    assert publish(tmp_path, "a[1](2)+") == ["a[1](2)+_00001_.png"]


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("%year%-%month%-%day%/%hour%%minute%%second%", "2026-03-05/070809"),
        ("%width%x%height%", "640x480"),
        ("%date:yyyy-MM-dd%", "2026-03-05"),
        ("%date:yy.M.d%/%date:hhmmss%_%date:h-m-s%", "26.3.5/070809_7-8-9"),
        ("%date%", "2026-03-05"),
        ("%date:%", "2026-03-05"),
        ("%Node.widget% 100%", "%Node.widget% 100%"),
    ],
)
def test_placeholders(tmp_path: Path, prefix: str, name: str) -> None:
    assert publish(tmp_path, prefix) == [f"{name}_00001_.png"]


def test_the_batch_number_is_the_place(tmp_path: Path) -> None:
    assert publish(tmp_path, "a%batch_num%", 3) == ["a0_00001_.png", "a1_00002_.png", "a2_00003_.png"]
    assert publish(tmp_path, "a%batch_num%", 2) == ["a0_00004_.png", "a1_00005_.png"]


def test_files_of_one_node_may_differ_in_place_and_kind(tmp_path: Path) -> None:
    artifacts = Artifacts((Artifact(b"1", "a"), Artifact(b"2", "b", ".json"), Artifact(b"3", "a", folder="temp")))
    paths = OutputFolder(tmp_path).publish(artifacts)
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert names == ["a_00001_.png", "b_00001_.json", "temp/a_00001_.png"]
    assert OutputFolder(tmp_path).publish(Artifacts(text=("only text",))) == ()


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert OutputFolder(Path("out")).publish(Artifacts((Artifact(b""),))) == (tmp_path / "out/ComfyUI_00001_.png",)


# Places


@pytest.mark.parametrize("prefix", ["../a", "a/../../b", "a\\..\\..\\b", "..", "/tmp/a", "\\a", "link/a", "link/new/a"])
@pytest.mark.parametrize("folder", ["output", "temp"])
def test_a_prefix_may_not_leave_the_folder(tmp_path: Path, prefix: str, folder: str) -> None:
    root = tmp_path / "output"
    for base in (root, root / "temp"):
        base.mkdir()
        (base / "link").symlink_to(tmp_path)
    artifact = Artifact(b"", prefix, folder="temp" if folder == "temp" else "output")
    with pytest.raises(OutputError, match="leads out of the output folder") as caught:
        OutputFolder(root).publish(Artifacts((artifact,)))
    assert repr(prefix) in str(caught.value)
    assert str(root) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


@pytest.mark.parametrize(
    "prefix", ["a\0b", "a:b", "C:\\a", "what?", "a|b", 'a"b', "a<b>", "a*", "a\nb", "%date:hh:mm%"]
)
def test_what_windows_does_not_allow_is_refused(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(OutputError, match="has the character"):
        publish(tmp_path, prefix)
    assert files(tmp_path) == []


@pytest.mark.parametrize("prefix", ["x" * 300, "ä" * 130, "x" * 300 + "/a", "x" * 245])
def test_names_that_no_file_system_takes_are_refused(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(OutputError, match="more than 255 bytes; make it shorter"):
        publish(tmp_path, prefix)
    assert files(tmp_path) == []
    assert publish(tmp_path, "x" * 244) == ["x" * 244 + "_00001_.png"]


@given(st.lists(st.sampled_from(["..", ".", "a", "/", "\\", "link", "inside", "%year%", "", "%date:/../%"])))
def test_no_prefix_whatever_leads_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    jail = tmp_path_factory.getbasetemp() / "output_jail"
    root = jail / "output"
    if not root.exists():
        (root / "real").mkdir(parents=True)
        (root / "link").symlink_to(jail)
        (root / "inside").symlink_to("real")
    try:
        (path,) = OutputFolder(root).publish(Artifacts((Artifact(b"", "/".join(parts)),)))
    except OutputError:
        return
    assert path.resolve().is_relative_to(root)
    assert [path.name for path in jail.iterdir()] == ["output"]


@pytest.mark.parametrize("prefix", ["file/a", "loop/a", "\ud800"])
def test_what_the_disk_refuses_is_reported_with_its_place(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        publish(tmp_path, prefix)
    assert str(tmp_path) in str(caught.value)
    assert files(tmp_path) == ["file", "loop"]


@pytest.mark.parametrize("prefix", ["file/a", "file/b/a", "new/file/../a"])
def test_where_nothing_can_be_written_is_told_beforehand(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="folder"):
        OutputFolder(tmp_path).check(prefix)
    with pytest.raises(OutputError, match=f"{tmp_path / 'file'} cannot be written .*: it is a file, not a folder"):
        OutputFolder(tmp_path / "file" / "below").check("a")
    OutputFolder(tmp_path / "new" / "below").check("b/a")
    assert files(tmp_path) == ["file"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.skipif(os.access("/", os.W_OK), reason="who may write everywhere finds no such folder")
def test_a_folder_that_may_not_be_written_to_is_told_beforehand(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    tmp_path.chmod(0o500)
    for root in (tmp_path, tmp_path / "new"):
        with pytest.raises(OutputError, match="no files may be made there"):
            OutputFolder(root).check("a")
    OutputFolder(tmp_path).check("ours/a")


# Never over another file, whole or not at all


def test_a_dangling_link_is_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "a_00001_.png").symlink_to("nowhere")
    assert publish(tmp_path, "a") == ["a_00002_.png"]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_number_that_is_taken_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    link = os.link

    def late(source: Path, target: Path) -> None:
        if not links:
            raise PermissionError(1, "Operation not permitted")
        link(source, target)

    def uncounted(folder: Path, stem: str) -> int:
        return 0

    (tmp_path / "a0_00002_.png").write_bytes(b"theirs")
    monkeypatch.setattr(os, "link", late)
    monkeypatch.setattr("graphexec.graph.outputs._highest_number", uncounted)
    before = files(tmp_path)
    assert publish(tmp_path, "a0", 3) == [f"a0_{number:05}_.png" for number in (1, 3, 4)]
    assert set(files(tmp_path)) - set(before) == {f"a0_{number:05}_.png" for number in (1, 3, 4)}
    assert (tmp_path / "a0_00002_.png").read_bytes() == b"theirs"


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    old, new = (tmp_path / f".{digit * 32}.gx-tmp" for digit in "ab")
    for path in (old, new):
        path.touch()
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    publish(tmp_path, "a")
    assert files(tmp_path) == [new.name, "a_00001_.png"]


WORKER = """
import sys
from pathlib import Path
from graphexec.graph.outputs import OutputFolder
from graphexec.node.fields import Artifact, Artifacts
root, name, count, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
for step in range(count):
    OutputFolder(root).publish(Artifacts((Artifact(f"{name} {step} ".encode().ljust(size, b"."), "shared"),)))
    print(step, flush=True)
"""


def start(root: Path, name: str, count: int, size: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, str(root), name, str(count), str(size)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert said(worker) == b"ready\n"
    return worker


def said(worker: subprocess.Popen[bytes]) -> bytes:
    assert worker.stdout is not None
    return worker.stdout.readline()


def go(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    worker.stdin.write(b"go\n")
    worker.stdin.flush()


def test_two_processes_lose_and_overwrite_nothing(tmp_path: Path) -> None:
    workers = [start(tmp_path, name, 100, 20) for name in "ab"]
    for worker in workers:
        go(worker)
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0, 0]
    assert files(tmp_path) == [f"shared_{number:05}_.png" for number in range(1, 201)]
    contents = {path.read_bytes().rstrip(b".").strip() for path in tmp_path.iterdir()}
    assert contents == {f"{name} {step}".encode() for name in "ab" for step in range(100)}


def test_a_killed_process_leaves_whole_files(tmp_path: Path) -> None:
    size = 3_000_000
    for written in (1, 3):
        worker = start(tmp_path, "a", 1000, size)
        go(worker)
        for step in range(written):
            assert said(worker) == b"%d\n" % step
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    sizes = {path.stat().st_size for path in tmp_path.iterdir() if path.name.startswith("shared_")}
    assert sizes == {size}


# Reruns


def test_what_was_published_is_recognised(tmp_path: Path) -> None:
    paths = OutputFolder(tmp_path).publish(Artifacts((Artifact(b"one"), Artifact(b"two"))))
    record = PublishedRecord.record(paths)
    assert record.paths == record.still_there() == paths
    paths[1].write_bytes(b"TWO")
    assert record.still_there() is None
    paths[1].write_bytes(b"two")
    assert record.still_there() == paths
    paths[0].unlink()
    assert record.still_there() is None
    with pytest.raises(OutputError, match="cannot be read"):
        PublishedRecord.record(paths)


def test_an_earlier_name_is_used_again_when_it_is_free(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    artifacts = Artifacts(tuple(Artifact(data, "a") for data in (b"one", b"two", b"three")))
    first = folder.publish(artifacts)
    first[0].unlink()
    first[2].write_bytes(b"THREE")
    again = folder.publish(artifacts, first)
    assert [path.name for path in again] == ["a_00001_.png", "a_00002_.png", "a_00004_.png"]
    assert [path.read_bytes() for path in again] == [b"one", b"two", b"three"]
    assert first[2].read_bytes() == b"THREE"


@pytest.mark.parametrize("name", ["../a_00001_.png", "b_00001_.png", "a_00001_.txt", "a_1_.png", "sub/a_00001_.png"])
def test_an_earlier_name_has_to_fit(tmp_path: Path, name: str) -> None:
    root = tmp_path / "output"
    (path,) = OutputFolder(root).publish(Artifacts((Artifact(b"", "a"),)), [root / name])
    assert path == root / "a_00001_.png"
    assert files(tmp_path) == ["output/a_00001_.png"]
