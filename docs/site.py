"""Pages of the site that are no files of docs/: what README.md says, and the API reference."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import noprop_dist

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/noprop-dist/noprop-dist"
LINK = re.compile(r"(\]\()(?!https?:|#)([^)]+\))")

API = """# API

What `from noprop_dist import ...` offers.

{public}

## Options

The fields of `TrainConfig`, which on the command line are flags with `-` for `_`.

{options}

## To extend it

What the examples of [Extending](extending.md) import.

{extending}
"""
# Its fields are a table of their own.
PLAIN = """
    options:
      members: false
      show_signature: false
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the two pages."""
    readme = (ROOT / "README.md").read_text()
    for name, text in {"index.md": LINK.sub(_on_site, readme), "api.md": _api()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def _on_site(link: re.Match[str]) -> str:
    """A link of README.md: to a page of the site, else to the repository."""
    start, to = link.groups()
    if to.startswith("docs/"):
        return start + to.removeprefix("docs/")
    return f"{start}{REPOSITORY}/blob/main/{to}"


def _api() -> str:
    page = (ROOT / "docs/extending.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    used = dict(found for block in blocks for found in _imported(block))
    names = noprop_dist.__all__
    return API.format(
        public="\n".join(f"::: noprop_dist.{n}{PLAIN * (n == 'TrainConfig')}" for n in names),
        options="\n".join(_options()),
        extending="\n".join(f"::: {used[name]}" for name in sorted(used.keys() - set(names))),
    )


def _imported(code: str) -> Iterator[tuple[str, str]]:
    """The names that code imports from rooms of the package, each with where it lies."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("noprop_dist."):
            for alias in node.names:
                yield alias.name, f"{node.module}.{alias.name}"


def _options() -> Iterator[str]:
    """A table of all options."""
    yield "| option | default | what it is |"
    yield "|---|---|---|"
    for f in fields(noprop_dist.TrainConfig):
        default = "" if f.default is None else f"`{f.default}`"
        yield f"| `{f.name}` | {default} | {f.metadata['help'].replace('|', '&#124;')} |"
