# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.faults import LatentError, MissingLibrary, OutOfMemory, StaleValue
from graphexec.diffusion.imaging.upscaling import load_upscaler, upscale_by_network, upscale_with_model
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import UpscaleModel
from graphexec.errors import ModelFileError

CPU = Runtime("cpu")


def silent(done: int, total: int) -> None:
    """A progress that nobody watches."""


def doubled(samples: Tensor) -> Tensor:
    return samples.repeat_interleave(2, -1).repeat_interleave(2, -2)


@dataclass
class Doubling:
    """A network with memory for tiles up to some side."""

    most: int = 10_000
    scale: int = 2
    input_channels: int = 3
    tiles: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])

    def __call__(self, image: Tensor, /) -> Tensor:
        if max(image.shape[-2:]) > self.most:
            raise torch.OutOfMemoryError("no memory")
        self.tiles.append(tuple(image.shape[-2:]))
        return doubled(image)

    def to(self, device: torch.device, /) -> Doubling:
        return self

    def eval(self) -> Doubling:
        return self


class TestMemory:
    def test_tiles_get_smaller(self) -> None:
        network, picture = Doubling(most=200), torch.rand(1, 3, 130, 300)
        assert torch.allclose(upscale_by_network(network, picture, CPU, silent), doubled(picture), atol=1e-6)
        assert max(max(tile) for tile in network.tiles) == 128

    def test_there_is_an_end_to_it(self) -> None:
        with pytest.raises(OutOfMemory, match="upscaling with a model does not fit"):
            upscale_by_network(Doubling(most=100), torch.rand(1, 3, 300, 300), CPU, silent)


@pytest.fixture
def model(tmp_path: Path) -> UpscaleModel:
    save_file({"w": torch.zeros(1)}, tmp_path / "up.safetensors")
    return UpscaleModel(WeightsFile.of(tmp_path / "up.safetensors"))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stands for spandrel: every file doubles, except those that hold a tensor called `odd`."""

    class UnsupportedModelError(Exception):
        pass

    class ModelLoader:
        def load_from_state_dict(self, weights: dict[str, Tensor]) -> Doubling:
            if "odd" in weights:
                raise UnsupportedModelError("never seen")
            return Doubling(input_channels=1 if "grey" in weights else 3)

    spandrel = ModuleType("spandrel")
    vars(spandrel).update(
        ModelLoader=ModelLoader, UnsupportedModelError=UnsupportedModelError, ImageModelDescriptor=Doubling
    )
    monkeypatch.setitem(sys.modules, "spandrel", spandrel)
    return spandrel


@pytest.mark.usefixtures("library")
class TestModels:
    def test_pictures_get_larger_and_alpha_follows(self, model: UpscaleModel) -> None:
        picture, seen = torch.rand(2, 5, 7, 4), list[tuple[int, int]]()
        found = upscale_with_model(model, picture, CPU, lambda done, total: seen.append((done, total)))
        assert found.shape == (2, 10, 14, 4)
        assert torch.equal(found[..., :3], doubled(picture.movedim(-1, 1)).movedim(1, -1)[..., :3])
        assert seen == [(1, 2), (2, 2)]
        assert torch.equal(upscale_with_model(model, picture[..., :3], CPU, silent), found[..., :3])

    @pytest.mark.parametrize(("name", "said"), [("odd", "never seen"), ("grey", "pictures in color")])
    def test_other_models_are_refused(self, tmp_path: Path, name: str, said: str) -> None:
        save_file({name: torch.zeros(1)}, tmp_path / "other.safetensors")
        with pytest.raises(ModelFileError, match=said):
            load_upscaler(UpscaleModel(WeightsFile.of(tmp_path / "other.safetensors")))

    def test_pickles_open_as_real_esrgan_wraps_them(self, tmp_path: Path) -> None:
        torch.save({"params_ema": {"grey": torch.zeros(1)}, "params": {"w": torch.zeros(1)}}, tmp_path / "grey.pth")
        with pytest.raises(ModelFileError, match="pictures in color"):
            load_upscaler(UpscaleModel(WeightsFile.of(tmp_path / "grey.pth")))
        torch.save({"params": {"w": torch.zeros(1)}}, tmp_path / "up.pth")
        assert load_upscaler(UpscaleModel(WeightsFile.of(tmp_path / "up.pth"))).scale == 2

    def test_pickles_of_more_than_tensors_are_refused(self, tmp_path: Path) -> None:
        torch.save({"w": torch.zeros(1), "code": Doubling()}, tmp_path / "up.pth")
        with pytest.raises(ModelFileError, match="can run code"):
            load_upscaler(UpscaleModel(WeightsFile.of(tmp_path / "up.pth")))

    def test_a_changed_file_is_stale(self, model: UpscaleModel) -> None:
        with pytest.raises(StaleValue):
            load_upscaler(replace(model, file=replace(model.file, size=1)))

    def test_grey_pictures_are_refused(self, model: UpscaleModel) -> None:
        with pytest.raises(LatentError, match="an upscale model takes pictures"):
            upscale_with_model(model, torch.zeros(1, 4, 4, 1), CPU, silent)


def test_the_extra_is_named(model: UpscaleModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MissingLibrary, match=r"graphexec\[upscale\]"):
        load_upscaler(model)
