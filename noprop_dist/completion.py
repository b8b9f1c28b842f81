"""``noprop completion SHELL``: what completes the words of ``noprop``, for bash, zsh and fish.

The script holds all words: pressing the key starts no Python.
"""

import re
from argparse import SUPPRESS, Action
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, Literal

from noprop_dist.ablate.options import AblateOptions
from noprop_dist.benchmarks.commands import BENCHMARKS
from noprop_dist.compare.compare_options import CompareOptions
from noprop_dist.config import TrainConfig
from noprop_dist.config.arguments import make_parser
from noprop_dist.config.fields import Checked, argument
from noprop_dist.options import Around, MergeOptions, Repeats
from noprop_dist.see.commands import (
    CardOptions,
    PushOptions,
    RunsOptions,
    ShowOptions,
    TraceOptions,
    VisualizeOptions,
)
from noprop_dist.tune.sweep_options import SweepConfig
from noprop_dist.use.flags import EvaluateOptions, ExportOptions, PredictOptions


@dataclass(frozen=True, kw_only=True)
class CompletionOptions(Checked):
    """For which shell."""

    shell: Literal["bash", "zsh", "fish"] = argument("SHELL", "bash, zsh or fish")


# By command: the classes of its options.
CLASSES: dict[str, tuple[type[Any], ...]] = {
    "train": (Around, Repeats, TrainConfig),
    "merge": (MergeOptions,),
    "evaluate": (EvaluateOptions,),
    "ablate": (AblateOptions,),
    "predict": (PredictOptions,),
    "export": (ExportOptions,),
    "runs": (RunsOptions,),
    "show": (ShowOptions,),
    "visualize": (VisualizeOptions,),
    "trace": (TraceOptions,),
    "card": (CardOptions,),
    "push": (PushOptions,),
    "tune": (Around, SweepConfig, TrainConfig),
    "compare": (Around, CompareOptions, TrainConfig),
    "completion": (CompletionOptions,),
    **{
        name if name == "chaos" else f"benchmark {name}": (options,)
        for name, (options, _, _) in BENCHMARKS.items()
    },
}


def script(shell: str, texts: Mapping[str, str]) -> str:
    """The script for a shell.

    Args:
        shell: "bash", "zsh" or "fish".
        texts: by command, its line in ``--help``.
    """
    return "\n".join(SCRIPTS[shell](texts)) + "\n"


def _actions(name: str) -> list[Action]:
    """What a command takes, but for names that it had before."""
    return [a for a in make_parser("", "", CLASSES[name])._actions if a.help != SUPPRESS]


def _next_words(texts: Mapping[str, str], group: str = "") -> list[str]:
    """The words that may follow ``noprop``, or ``noprop GROUP``."""
    names = [name.removeprefix(group) for name in texts if name.startswith(group)]
    return list(dict.fromkeys(name.split()[0] for name in names))


def _groups(texts: Mapping[str, str]) -> list[str]:
    """First words of commands of two words."""
    return list(dict.fromkeys(name.split()[0] for name in texts if " " in name))


def _bash(texts: Mapping[str, str]) -> Iterator[str]:
    yield "_noprop() {"
    yield '  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=""'
    yield '  local command="" i'
    yield "  for ((i = 1; i < COMP_CWORD && i <= 2; i++)); do"
    yield '    [[ $i == 1 || " ' + " ".join(_groups(texts)) + ' " == *" $command "* ]] &&'
    yield '      command="${command:+$command }${COMP_WORDS[i]}"'
    yield "  done"
    yield '  case "$command:$prev" in'
    for name in texts:
        for action in _actions(name):
            if action.choices and action.option_strings:
                before = quote(f"{name}:{action.option_strings[0]}")
                yield f"    {before}) words={quote(_plain(action))};;"
    yield '    *) case "$command" in'
    yield f'      "") words={quote(" ".join(_next_words(texts)))};;'
    for group in _groups(texts):
        yield f"      {group}) words={quote(' '.join(_next_words(texts, f'{group} ')))};;"
    for name in texts:
        flags = [flag for a in _actions(name) for flag in a.option_strings]
        given = [_plain(a) for a in _actions(name) if a.choices and not a.option_strings]
        yield f"      {quote(name)}) if [[ $cur == -* ]]; then words={quote(' '.join(flags))}"
        yield f"        else words={quote(' '.join(given))}; fi;;"
    yield "    esac;;"
    yield "  esac"
    yield '  COMPREPLY=($(compgen -W "$words" -- "$cur"))'
    yield "}"
    yield "complete -o bashdefault -o default -F _noprop noprop"


def _plain(action: Action) -> str:
    return " ".join(map(str, action.choices or ()))


def _zsh(texts: Mapping[str, str]) -> Iterator[str]:
    yield "#compdef noprop"
    yield "_noprop() {"
    yield "  local -a commands"
    yield '  local name="$words[2]"'
    yield "  if ((CURRENT == 2)); then"
    yield from _described(texts, _next_words(texts), "")
    yield "    return"
    yield "  fi"
    for group in _groups(texts):
        yield f"  if [[ $name == {group} ]]; then"
        yield "    if ((CURRENT == 3)); then"
        yield from _described(texts, _next_words(texts, f"{group} "), f"{group} ")
        yield "      return"
        yield "    fi"
        yield '    name="$name $words[3]"'
        yield "    shift words; ((CURRENT--))"
        yield "  fi"
    yield "  shift words; ((CURRENT--))"
    yield '  case "$name" in'
    for name in texts:
        yield f"    {quote(name)}) _arguments \\"
        for action in _actions(name):
            values = f":value:({_plain(action)})" if action.choices else ":value:_files"
            text = re.sub(r"([\\\[\]:])", r"\\\1", _line(action))
            for flag in action.option_strings:
                yield f"      {quote(f'{flag}[{text}]' + values * _takes_value(action))} \\"
            if action.choices and not action.option_strings:
                yield f"      {quote('1' + values)} \\"
        yield "      '*:file:_files';;"
    yield "  esac"
    yield "}"
    yield 'if [ "$funcstack[1]" = _noprop ]; then _noprop "$@"; else compdef _noprop noprop; fi'


def _described(texts: Mapping[str, str], words: Sequence[str], start: str) -> Iterator[str]:
    told = [f"{word}:{texts.get(start + word, 'a group of commands')}" for word in words]
    yield f"    commands=({' '.join(map(quote, told))})"
    yield "    _describe command commands"


def _takes_value(action: Action) -> bool:
    return action.nargs != 0


def _line(action: Action) -> str:
    """The help text in one short line."""
    text = (action.help or "").replace("%%", "%").partition(" (default: ")[0]
    return text if len(text) <= 72 else text[:70].rsplit(" ", 1)[0] + " .."


def _fish(texts: Mapping[str, str]) -> Iterator[str]:
    seen = "__fish_seen_subcommand_from"
    groups = _groups(texts)
    for word in _next_words(texts):
        text = texts.get(word, "a group of commands")
        yield f"complete -c noprop -n __fish_use_subcommand -f -a {word} -d {_fish_quote(text)}"
    for name, text in texts.items():
        first, _, second = name.partition(" ")
        if second:
            inside = " ".join(_next_words(texts, f"{first} "))
            when = f"{seen} {first}; and not {seen} {inside}"
            text = _fish_quote(text)
            yield f"complete -c noprop -n {_fish_quote(when)} -f -a {second} -d {text}"
            when = f"{seen} {first}; and {seen} {second}"
        else:
            when = f"{seen} {first}; and not {seen} {' '.join(groups)}"
        for action in _actions(name):
            kind = f" -x -a {_fish_quote(_plain(action))}" if action.choices else " -r"
            told = f"complete -c noprop -n {_fish_quote(when)}"
            for flag in action.option_strings:
                spelt = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                value = kind * _takes_value(action)
                yield f"{told} {spelt}{value} -d {_fish_quote(_line(action))}"
            if action.choices and not action.option_strings:
                yield f"{told} -f -a {_fish_quote(_plain(action))}"


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
