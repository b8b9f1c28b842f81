"""Fixtures for every room.

Nothing of noprop_dist is imported here at the top: the shape checks of noprop_dist.maths are put in
after this file is read, and only into modules that are not imported yet.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several test processes, one gets all tests on the one cluster; the others, whole files."""
    from xdist.scheduler import LoadScopeScheduling

    class ByCluster(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = Path(nodeid.partition("::")[0])
            return str(path.parent if path.parent.name == "distributed" else path)

    return ByCluster(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that no process ends long after the other."""
    items.sort(key=lambda item: item.path.name != "test_pages.py")


@pytest.fixture(scope="session")
def repo(pytestconfig: pytest.Config) -> Path:
    """The root of the repository."""
    return pytestconfig.rootpath


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from more threads, and lose much where cores are shared.

    Here and in what tests start: threads that wait for one another take twice the time and more
    where another test runs beside them.
    """
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def short_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dry runs that time their blocks for a moment: enough where the figure is not looked at."""
    monkeypatch.setattr("noprop_dist.plan.TRY_S", 0.1)


@pytest.fixture
def generator() -> torch.Generator:
    """A CPU generator, seeded alike for every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def pictured_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on digits with prototype embeddings, without pictures; not to be changed."""
    from noprop_dist import train
    from runs import small

    folder = tmp_path_factory.mktemp("pictured") / "run"
    train(small(folder, epochs=2, embedding_type="prototype"))
    return folder


@pytest.fixture
def styled() -> Iterator[None]:
    """Figures are made in the style in which they become files."""
    from noprop_dist.draw.style import own_style

    with own_style():
        yield
