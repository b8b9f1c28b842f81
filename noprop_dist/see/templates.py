"""The templates of what is told of a run as a file, which lie in page/."""

import base64
from functools import cache
from typing import TYPE_CHECKING

from noprop_dist.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def templates() -> "Environment":
    """What is put into HTML is escaped; into CSS it is our own, in Markdown its author's."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    found = Environment(
        loader=PackageLoader("noprop_dist.see", "page"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["data"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    found.filters["printable"] = printable
    return found
