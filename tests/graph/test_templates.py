"""Workflows as they are about: each compiles without its model files, or what it lacks is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import NOWHERE

from graphexec.graph.compile import check
from graphexec.node.registry import Registry
from graphexec_nodes.absent import ABSENT

TEMPLATES = sorted((Path(__file__).parents[1] / "data/templates").glob("*.json"))
REGISTRY = Registry.standard()

VIDEO = {
    "CreateVideo",
    "ImageOnlyCheckpointLoader",
    "SVD_img2vid_Conditioning",
    "SaveVideo",
    "VideoLinearCFGGuidance",
}
"""Nodes of Stable Video Diffusion, which are not among those for Stable Diffusion."""

LACKS = {
    "sdxl_revision_text_prompts": {"CLIPVisionEncode", "CLIPVisionLoader", "unCLIPConditioning"},
    "txt_to_image_to_video": VIDEO,
}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_compiles(path: Path) -> None:
    found = check(path, registry=REGISTRY, folders=NOWHERE, check_files=False)
    errors = [(each.code, each.class_type) for each in found.diagnostics if each.severity == "error"]
    assert set(errors) == {("missing_node_type", lacking) for lacking in LACKS.get(path.stem, set[str]())}
    assert (found.plan is None) == (path.stem in LACKS)
    lacking = [each for each in found.diagnostics if each.class_type in ABSENT]
    assert [each.hint for each in lacking] == [ABSENT[str(each.class_type)] for each in lacking]


def test_what_templates_lack_is_absent_for_a_reason() -> None:
    assert set[str]().union(*LACKS.values()) - VIDEO <= set(ABSENT)
