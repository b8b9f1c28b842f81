"""The colours of a drawing on white paper, and what stands for them on dark paper.

A colour is (red, green, blue), each 0..255.
"""

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
DARK_PAPER: Colour = (0x1A, 0x1D, 0x21)
LIGHT_INK: Colour = (0xEC, 0xEE, 0xF0)  # what black is on dark paper
GREY_SPREAD = 8  # of the three channels of a grey, at most

# WCAG 2.2 AA: text, and lines and marks that one has to see.
TEXT_CONTRAST, MARK_CONTRAST = 4.5, 3.0


def luminance(colour: Colour) -> float:
    """The relative luminance of WCAG 2.2, 0..1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _unit(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: Colour, b: Colour) -> float:
    """The contrast ratio of WCAG 2.2, 1..21."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def ink_on(paper: Colour) -> Colour:
    """Black or white, whichever is read better on the paper: on any, at a contrast of 4.5."""
    return max(BLACK, WHITE, key=lambda ink: contrast(ink, paper))


def on_white(colour: Colour, *, text: bool) -> Colour:
    """The colour itself; of text, darkened as far as it takes to be read on white."""
    return _towards(colour, BLACK, WHITE, TEXT_CONTRAST) if text else colour


def on_dark(colour: Colour, *, text: bool) -> Colour:
    """What stands for the colour on dark paper.

    Greys change ends: white is the paper and black is light. Other colours stay as they are, but
    are lightened as far as it takes to be seen.
    """
    if max(colour) - min(colour) <= GREY_SPREAD:
        ink = [1 - c for c in _unit(colour)]
        mixed = [p + (i - p) * s for p, i, s in zip(DARK_PAPER, LIGHT_INK, ink, strict=True)]
        red, green, blue = (round(c) for c in mixed)
        return red, green, blue
    return _towards(colour, WHITE, DARK_PAPER, TEXT_CONTRAST if text else MARK_CONTRAST)


def _towards(colour: Colour, end: Colour, paper: Colour, ratio: float) -> Colour:
    """The first mixture of the colour with ``end`` that has the contrast with the paper."""
    found = colour
    for step in range(1, 21):
        if contrast(found, paper) >= ratio:
            break
        share = step / 20
        red, green, blue = (round(c + (e - c) * share) for c, e in zip(colour, end, strict=True))
        found = red, green, blue
    return found


def _unit(colour: Colour) -> tuple[float, ...]:
    return tuple(c / 255 for c in colour)
