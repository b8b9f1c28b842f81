"""The documentation as a site: built without a warning, whole, loading nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import noprop_dist


@pytest.fixture(scope="module")
def site(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)],
        cwd=repo, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_site_has_every_page_and_notebook(repo: Path, site: Path) -> None:
    sources = [*(repo / "docs").rglob("*.md"), *(repo / "docs").rglob("*.ipynb")]
    names = {str(path.relative_to(repo / "docs").with_suffix("")) for path in sources}
    made = {str(path.parent.relative_to(site)) for path in site.rglob("index.html")}
    assert made == names | {".", "api"}
    assert "a distributed trainer for" in " ".join((site / "index.html").read_text().split())


def test_reference_tells_every_public_name_and_option(site: Path) -> None:
    page = (site / "api/index.html").read_text()
    for name in noprop_dist.__all__:
        assert f'id="noprop_dist.{name}"' in page
    assert 'id="noprop_dist.model.block.Block.classify"' in page
    for name in noprop_dist.TrainConfig.__dataclass_fields__:
        assert f"<code>{name}</code>" in page


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*src=\"?(?:https?:)?//|<link[^>]*href=\"?https?:"
    )
    for path in site.rglob("*.html"):
        text = re.sub(r"<link[^>]*rel=\"?canonical[^>]*>", "", path.read_text())
        assert not loads.search(text), path
