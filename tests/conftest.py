"""Fixtures for every room.

Nothing of noprop_dist is imported here at the top: the shape checks of noprop_dist.maths are put in
after this file is read, and only into modules that are not imported yet.
"""

from pathlib import Path

import pytest
import torch


@pytest.hookimpl(tryfirst=True)  # before the group is read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several test processes, one gets all tests on the one cluster that they share."""
    for item in items:
        if "distributed" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def repo(pytestconfig: pytest.Config) -> Path:
    """The root of the repository."""
    return pytestconfig.rootpath


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors gain nothing from more threads, and lose much where cores are shared."""
    torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    """A CPU generator, seeded alike for every test."""
    return torch.Generator().manual_seed(0)
