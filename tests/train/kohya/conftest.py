from __future__ import annotations

import pytest
from train.kohya.settings import Desk, make_desk


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return make_desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def desk(furnished: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The current folder, with a tiny base of SD 1 and two pictures; tests leave it as it is but for style.toml."""
    monkeypatch.chdir(furnished.folder)
    return furnished
