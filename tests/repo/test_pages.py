"""The commands of the pages run, as they stand, on a newcomer's machine.

Each page's run in order, in one shell and one checkout. Data sets are small by the environment
variable that the pages name, a data set that would be downloaded is there, the environment that is
there already stands for an installation, and a command runs once however many pages show it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from repo.pages import ELSEWHERE, File, Python, Visit, lines, runs_here, steps, visiting

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]  # a page is many commands

# In the order of reading: README starts the cluster that others submit jobs to.
PAGES = ["README.md", "docs/cluster.md", "docs/optimisation.md", *(
    f"docs/{name}.md" for name in ("comparison", "sweeps", "use", "pictures", "report", "deploy")
), "CONTRIBUTING.md"]  # fmt: skip


@pytest.fixture(scope="module")
def visit(repo: Path) -> Iterator[Visit]:
    with visiting(repo) as newcomer:
        yield newcomer


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_run(repo: Path, visit: Visit, page: str) -> None:
    text = (repo / page).read_text()
    with visit.shell() as run:
        if page != "README.md":  # where the environment is made and activated
            run("source .venv/bin/activate")
        for step in steps(text):
            if isinstance(step, File):
                (visit.folder / step.name).write_text(step.text)
            elif isinstance(step, Python):  # that of other pages has tests of its own
                if page == "README.md":
                    run(f"python - <<'END'\n{step.text}END")
            elif runs_here(step):
                run(step)
    if page == "README.md":  # every start of a private Ray takes seconds
        visit.environment |= {"RAY_ADDRESS": "127.0.0.1:6379", "RAY_AUTH_MODE": "token"}


def test_every_page_with_commands_is_visited(repo: Path) -> None:
    shown = {
        str(path.relative_to(repo))
        for path in [*repo.glob("*.md"), *(repo / "docs").rglob("*.md")]
        if any(map(runs_here, lines(path.read_text())))
    }
    assert shown <= set(PAGES)


def test_what_is_left_out_is_on_a_page(repo: Path) -> None:
    everything = [line for page in PAGES for line in lines((repo / page).read_text())]
    for start in ELSEWHERE:
        assert any(line.startswith(start) for line in everything), start
