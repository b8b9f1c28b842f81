"""A matplotlib figure as SVG inside a page, in the page's colours, light or dark.

Colours become CSS variables with a value for each kind of paper, styles become classes of one sheet
(a strict content security policy forbids style attributes), and names get a prefix of their own,
so that several drawings in one page do not take each other's clip paths.
"""

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from noprop_dist.draw.colours import Colour, on_dark, on_white
from noprop_dist.draw.style import own_style, render

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

KEEP = "keep-"  # names of groups that are drawn on an image: their colours stay
RASTER_DPI = 144  # of the images inside a drawing
HEX = re.compile(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", re.IGNORECASE)
FONT = re.compile(r"(?:(italic|oblique)\s+)?(?:(bold|\d{3})\s+)?([\d.]+)px")
LONG = re.compile(r"(\.\d\d)\d+")  # a coordinate, finer than anyone sees
REFERENCE = re.compile(r"url\(#([^)]+)\)|^#(.+)$")


class Sheet:
    """The styles of all drawings of a page."""

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._colours: dict[str, tuple[Colour, Colour]] = {}  # by variable: on white, on dark

    def class_of(self, style: str, *, keep: bool, text: bool) -> str:
        """The class that stands for a style attribute.

        Args:
            style: its value.
            keep: whether its colours stay as they are.
            text: whether it is of text, which needs more contrast.
        """
        made: dict[str, str] = {"fill": "#000000"} if keep else {}
        for part in style.split(";"):
            name, _, value = (text.strip() for text in part.partition(":"))
            if name == "font":
                made |= _font(value)
            elif name and name != "font-family":  # which is the page's
                made[name] = value
        for name in ("fill", "stroke"):
            if not keep and name in made:
                made[name] = self._variable(made[name], text)
        rule = ";".join(f"{name}:{value}" for name, value in made.items())
        return self._classes.setdefault(rule, f"s{len(self._classes)}")

    def _variable(self, value: str, text: bool) -> str:
        found = HEX.fullmatch(value)
        if not found:
            return value
        red, green, blue = (int(channel, 16) for channel in found.groups())
        colour = (red, green, blue)
        name = f"--{'t' if text else 'c'}{value[1:].lower()}"
        self._colours[name] = on_white(colour, text=text), on_dark(colour, text=text)
        return f"var({name})"

    def take(self, other: "Sheet") -> None:
        """Become like a copy that has gone on."""
        self._classes, self._colours = other._classes, other._colours

    def rules(self) -> str:
        """The classes."""
        return "\n".join(f".{name}{{{rule}}}" for rule, name in self._classes.items() if rule)

    def variables(self, *, dark: bool) -> str:
        """The colours on one of the two papers, as declarations."""
        pairs = ((name, both[dark]) for name, both in sorted(self._colours.items()))
        return "".join(f"{name}:#{r:02x}{g:02x}{b:02x};" for name, (r, g, b) in pairs)


def to_svg(figure: "Figure", name: str, sheet: Sheet, label: str) -> str:
    """The figure as an ``<svg>`` element.

    Args:
        figure: it is left as it was.
        name: of the picture, no other one of the page has it; letters, digits and dashes.
        sheet: takes the styles.
        label: the id of the element that names the picture.
    """
    with own_style(), _marked(figure):
        root = ET.fromstring(render(figure, "svg", dpi=RASTER_DPI, name=name))
    _plain_names(root)
    for child in [c for c in root if c.tag == "metadata"]:
        root.remove(child)
    used = {a or b for e in root.iter() for v in e.attrib.values() for a, b in REFERENCE.findall(v)}
    _restyle(root, sheet, keep=False, text=False)
    for element in root.iter():
        _rename(element, used, name)
    _, _, width, height = root.get("viewBox", "0 0 0 0").split()
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "width": width,
        "height": height,
        "role": "img",
        "aria-labelledby": label,
    }
    return ET.tostring(root, encoding="unicode")


def to_png(figure: "Figure", dpi: int) -> str:
    """The figure as a data URI of a PNG on white."""
    return "data:image/png;base64," + base64.b64encode(render(figure, "png", dpi=dpi)).decode()


def _plain_names(root: ET.Element) -> None:
    """Tags and attributes without namespaces, as HTML has them."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {k.rpartition("}")[2]: v for k, v in element.attrib.items()}
        element.tail = None
        if element.tag not in ("text", "tspan"):
            element.text = None


def _restyle(element: ET.Element, sheet: Sheet, *, keep: bool, text: bool) -> None:
    """Classes in place of styles, from here down."""
    name = element.get("id", "")
    keep = keep or name.startswith(KEEP)
    text = text or name.startswith("text_")
    for child in list(element):
        if child.tag == "style":  # the page's sheet says the same of all drawings
            element.remove(child)
        else:
            _restyle(child, sheet, keep=keep, text=text)
    style = element.attrib.pop("style", None)
    if style is not None:
        letters = element.tag in ("text", "tspan") or (text and element.tag == "g")
        element.set("class", sheet.class_of(style, keep=keep, text=letters))  # else: their ground


def _rename(element: ET.Element, used: set[str], prefix: str) -> None:
    """Ids that nothing refers to go, the others get a prefix."""
    name = element.attrib.pop("id", None)
    if name in used:
        element.set("id", f"{prefix}-{name}")
    if "d" in element.attrib:
        element.set("d", LONG.sub(r"\1", " ".join(element.attrib["d"].split())))
    for key, value in element.attrib.items():
        if value.startswith("#"):
            element.set(key, f"#{prefix}-{value[1:]}")
        elif value.startswith("url(#"):
            element.set(key, value.replace("url(#", f"url(#{prefix}-"))


def _font(value: str) -> dict[str, str]:
    """The parts of a font that are not the page's: all but its family."""
    found = FONT.search(value)
    if not found:
        return {}
    slant, weight, size = found.groups()
    made = {"font-size": f"{size}px"}
    return (
        made
        | ({"font-style": slant} if slant else {})
        | ({"font-weight": weight} if weight else {})
    )


@contextmanager
def _marked(figure: "Figure") -> Iterator[None]:
    """While inside, what is drawn on an image or a coloured patch bears a name that says so."""
    figure.draw_without_rendering()  # places are known once the layout is
    marked = [(artist, artist.get_gid()) for artist in dict.fromkeys(_on_images(figure))]
    try:
        for number, (artist, _) in enumerate(marked):
            artist.set_gid(f"{KEEP}{number}")
        yield
    finally:
        for artist, gid in marked:
            artist.set_gid(gid)


def _on_images(figure: "Figure") -> Iterator["Artist"]:
    """What would not be seen any more if its colours followed the paper."""
    explained = {m.colorbar.ax: m for a in figure.axes for m in _mappables(a) if m.colorbar}
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>" or axes in explained:
            on_image = _is_pictured([explained[axes]] if axes in explained else [])
        else:
            on_image = _is_pictured(_mappables(axes))
        if on_image:
            yield from (*axes.lines, *axes.patches, *axes.collections)
            yield from (t for t in axes.texts if axes.bbox.contains(*_centre(t)))
        else:
            yield from (t for t in axes.texts if _is_on_patch(t, axes))


def _mappables(axes: "Axes") -> list[Any]:
    return [*axes.images, *axes.collections]


def _is_pictured(mappables: Sequence[Any]) -> bool:
    """Whether one of them covers the paper in colours that mean numbers."""
    from matplotlib.collections import QuadMesh
    from matplotlib.image import AxesImage

    return any(isinstance(m, QuadMesh | AxesImage) for m in mappables)


def _is_on_patch(text: "Text", axes: "Axes") -> bool:
    """Whether a text lies on a bar, or another patch that hides the paper."""
    from matplotlib.colors import to_rgba

    where = _centre(text)
    return any(
        to_rgba(patch.get_facecolor())[3] > 0.5 and patch.get_window_extent().contains(*where)
        for patch in axes.patches
    )


def _centre(text: "Text") -> tuple[float, float]:
    box = text.get_window_extent()
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
