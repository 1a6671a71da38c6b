"""What hosts may rely on: the public names, what importing them costs, and what the wheel holds."""

from __future__ import annotations

import configparser
import importlib.util
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from docs.pages import DOCS, ROOT

import graphexec
from graphexec.graph import events

DATA = (
    "graphexec/diffusion/data/bpe_simple_vocab_16e6.txt.gz",
    "graphexec/diffusion/data/NOTICE",
    "graphexec/models/NOTICE",
    "graphexec/models/checkpoints/graphexec-tiny.safetensors",
    "graphexec/py.typed",
)
STRANGERS = re.compile(r"(^|/)(tests?|bench|docs|scripts|__pycache__|\.[^/]+)(/|$)|\.pyc$")


def documented_names() -> list[str]:
    """The first column of the table under "The public names"."""
    section = (DOCS / "embedding.md").read_text("utf-8").split("\n## The public names\n")[1]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def in_a_fresh_process(source: str) -> str:
    return subprocess.run([sys.executable, "-c", source], capture_output=True, check=True, text=True).stdout.strip()


def test_the_public_names_are_those_documented() -> None:
    assert sorted(documented_names()) == sorted(graphexec.__all__)


def test_every_public_name_is_what_it_says_whatever_was_imported_before() -> None:
    source = """
import pkgutil, types, graphexec
for found in pkgutil.walk_packages(graphexec.__path__, "graphexec."):
    if not found.name.startswith(("graphexec.diffusion", "graphexec.lora")) and "__main__" not in found.name:
        __import__(found.name)
print(*(name for name in graphexec.__all__ if isinstance(getattr(graphexec, name), types.ModuleType)))
"""
    assert in_a_fresh_process(source) == ""


def test_importing_graphexec_imports_nothing_heavy() -> None:
    source = "import graphexec, sys; print(*({'torch', 'numpy', 'networkx', 'pydantic', 'yaml'} & set(sys.modules)))"
    assert in_a_fresh_process(source) == ""


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'complie'"):
        _ = graphexec.complie  # type: ignore[attr-defined]


def test_what_goes_from_one_process_to_another_arrives_whole() -> None:
    told: list[events.Event] = []
    workflow = {"show": {"class_type": "PreviewAny", "inputs": {"source": 1}}}
    plan = graphexec.compile(workflow)
    result = graphexec.run(plan, graphexec.Context(on_event=told.append))
    faults = graphexec.check({"show": {"class_type": "PreviewAnny", "inputs": {}}})
    for value in (plan.workflow, plan.folders, told, result, faults):
        assert pickle.loads(pickle.dumps(value)) == value


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    for tool in ("build", "hatchling"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed, so no wheel can be built")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("graphexec-*.whl")
    return zipfile.ZipFile(path)


class TestWheel:
    def test_holds_every_module_and_its_data(self, wheel: zipfile.ZipFile) -> None:
        names = set(wheel.namelist())
        sources = {*ROOT.glob("graphexec/**/*.py"), *ROOT.glob("graphexec/models/loras/**/*.safetensors")}
        expected = {path.relative_to(ROOT).as_posix() for path in sources}
        expected |= {path.relative_to(ROOT / "nodes").as_posix() for path in ROOT.glob("nodes/graphexec_nodes/*.py")}
        assert {"graphexec/__init__.py", "graphexec_nodes/__init__.py", *DATA} | expected <= names
        assert any(name.startswith("graphexec/models/loras/graphexec-tiny/") for name in names)

    def test_holds_nothing_else(self, wheel: zipfile.ZipFile) -> None:
        assert [name for name in wheel.namelist() if STRANGERS.search(name)] == []
        assert {Path(name).parts[0] for name in wheel.namelist()} == {
            "graphexec",
            "graphexec_nodes",
            f"graphexec-{graphexec_version()}.dist-info",
        }

    def test_holds_the_licences(self, wheel: zipfile.ZipFile) -> None:
        licences = {name.rpartition("/")[2] for name in wheel.namelist() if ".dist-info/licenses/" in name}
        assert licences >= {"LICENSE", "NOTICE"}

    def test_names_its_entry_points(self, wheel: zipfile.ZipFile) -> None:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
        points = configparser.ConfigParser()
        points.read_string(wheel.read(name).decode())
        assert {section: dict(points[section]) for section in points.sections()} == {
            "console_scripts": {"graphexec": "graphexec.cli.main:main"},
            "graphexec.nodes": {"builtin": "graphexec_nodes"},
        }


def graphexec_version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]
