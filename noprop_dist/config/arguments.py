"""From fields of options to the parser of a command's arguments."""

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from noprop_dist.config.fields import Former, flag
from noprop_dist.errors import UserError

if TYPE_CHECKING:
    from argparse import _ArgumentGroup
    from dataclasses import Field


class OptionParser(ArgumentParser):
    """Says what is wrong with the arguments in one sentence, as an error of ours."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UserError: always.
        """
        what = message.removeprefix("argument ")
        raise UserError(f"{what}; {self.prog} --help lists the options.")


def make_parser(
    prog: str,
    description: str,
    classes: Sequence[type[Any]],
    values: Mapping[str, Any] | None = None,
) -> OptionParser:
    """A parser that tells what is given, and nothing of what is not.

    Args:
        prog: what the command is called.
        description: of the command, for ``--help``.
        classes: dataclasses whose fields are the options.
        values: other defaults than the fields' own, by name, for ``--help`` to show.
    """
    hints = {name: hint for cls in classes for name, hint in get_type_hints(cls).items()}
    options = [f for cls in classes for f in fields(cls)]
    places = [f.metadata["name"] for f in options if "name" in f.metadata]
    usage = " ".join([prog, "[-h]", "[OPTIONS]", *places])
    parser = OptionParser(prog, usage, description, allow_abbrev=False, argument_default=SUPPRESS)
    groups: dict[str, _ArgumentGroup] = {}
    for f in options:
        group = f.metadata["group"]
        if group not in groups:
            title = group if group == "arguments" else f"{group} options"
            groups[group] = parser.add_argument_group(title)
        _add(groups[group], f, hints[f.name], (values or {}).get(f.name, f.default))
    return parser


def _add(group: "_ArgumentGroup", f: "Field[Any]", hint: Any, default: Any) -> None:
    """Tell the parser of an option; no text is taken for nothing."""
    several, none = get_origin(hint) is tuple, type(None)
    inner = get_args(hint) if several or none in get_args(hint) else (hint,)
    kind = next(k for k in inner if k is not none)
    unset = f.metadata.get("unset")
    text = (f.metadata["help"] + _shown(unset if default is None else default)).replace("%", "%%")
    parse = _or_unset(kind, unset) if unset else kind
    told: dict[str, Any] = {"help": text, "type": parse, "metavar": f.metadata.get("name")}
    if kind is bool:
        told = {"help": text, "action": BooleanOptionalAction}
    elif get_origin(kind) is Literal:
        told |= {"type": str, "choices": get_args(kind)}
    elif told["metavar"] is None:
        told["metavar"] = kind.__name__.upper()
    if "name" in f.metadata:
        if several:
            told |= {"nargs": "*", "default": ()}
        elif default is not MISSING:
            told["nargs"] = "?"
        group.add_argument(f.name, **told)
        return
    if several:
        told["nargs"] = "+"
    group.add_argument(flag(f.name), **told)
    former: Former | None = f.metadata["formerly"]
    if former is None or (former.is_switch and kind is bool):  # whose --no-name says the same
        return
    hidden: dict[str, Any] = {"action": "store_true"} if former.is_switch else told
    group.add_argument(flag(former.name), **hidden | {"help": SUPPRESS})


def _or_unset(kind: type[Any], unset: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return None if text == unset else kind(text)
        except ValueError as error:
            raise ArgumentTypeError(f"must be {kind.__name__} or {unset}, got {text!r}") from error

    return parse


def _shown(default: Any) -> str:
    """What ``--help`` says of a default; without one to show, the text tells what happens."""
    if default is None or default is MISSING or default is False or default == ():
        return ""
    if isinstance(default, tuple):
        default = " ".join(map(str, default))
    return f" (default: {'on' if default is True else default})"
