"""A block of the user's own: read as text where the user names it, and recorded by its hash.

The text travels with the network's spec to whatever process builds the block, so that all of a run
compute with the same one. A file that describes a network holds no text: code is run where the user
names it, never because a folder does.
"""

import hashlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from noprop_dist.errors import UserError
from noprop_dist.model.block import Block
from noprop_dist.model.block_names import is_own, names_file
from noprop_dist.run_files import CONFIG, OWN_BLOCK

_GIVEN: dict[str, "BlockCode"] = {}
_RUN: dict[str, "BlockCode"] = {}  # by sha256, what this process has run at the user's word


@dataclass(frozen=True)
class BlockCode:
    """The module that a block's class is in.

    Attributes:
        name: "package.module:Class" or "path/file.py:Class".
        source: the module's text; it may import what is installed wherever blocks are built.
        folder: of the file, or of the module's outermost package: what lies there can be imported,
            on machines that have it too. None for a file in a run's folder, whose other files no
            hash vouches for.
    """

    name: str
    source: str = field(repr=False)
    folder: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, name: str) -> "BlockCode":
        """What lies there now, or what another process gave for it.

        Raises:
            UserError: there is no such module or file.
        """
        if name in _GIVEN:
            return _GIVEN[name]
        path = _path(name)
        return cls(name, _text(name, path), _folder(name, path))

    @cached_property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def give(self) -> None:
        """Let ``read`` give this in this process, which may not see the file."""
        _GIVEN[self.name] = self

    def load(self) -> type[Block]:
        """Run the text, once a process, and give the class.

        Raises:
            UserError: it cannot be run, or has no such block.
        """
        return _load(self)


def block_name(given: str | type[Block] | None, otherwise: str) -> str:
    """The block that was given in Python, or what the options say.

    Raises:
        UserError: a class was given that cannot be found again by its name.
    """
    if not isinstance(given, type):
        return given or otherwise
    module, name = given.__module__, given.__qualname__
    here = getattr(sys.modules.get(module), name, None) is given
    found = _spec(module) if here and module != "__main__" else None
    if found is None or not (found.origin or "").endswith(".py"):
        raise UserError(
            f"block {name} is defined where workers and later commands cannot find it: put it into "
            f'a file of its own and give "path/file.py:{given.__name__}", or into a module.'
        )
    return f"{module}:{name}"


@contextmanager
def standing_for(name: str, code: BlockCode | None) -> Iterator[None]:
    """While this lasts ``BlockCode.read`` gives the code for this spelling of its name.

    Args:
        name: as a run's options have it.
        code: where the user says that it lies; None where the block is none of the user's own.
    """
    if code is None:
        yield
        return
    before = _GIVEN.get(name)
    replace(code, name=name).give()
    try:
        yield
    finally:
        _GIVEN.pop(name, None)
        if before is not None:
            before.give()


@contextmanager
def blamed(block: str) -> Iterator[None]:
    """What goes wrong inside is told in a sentence where the block is a class of the user's own.

    Raises:
        UserError: names the block and the last line of its file that was reached.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_own(block):
            raise
        reached = line_reached(block, error)
        line = f" in line {reached}" if reached else ""
        raise UserError(
            f"--block {block} cannot take a step of training{line} ({named(error)}): mend it; from "
            "z (B, D) and samples it gives logits (B, K)."
        ) from error


def line_reached(block: str, error: BaseException) -> int | None:
    """The last line of an own block's file that an error passed through; None where it did not."""
    where = block.rpartition(":")[0]
    frames = extract_tb(error.__traceback__) if is_own(block) else ()
    lines = [frame.lineno for frame in frames if frame.filename == where]
    return lines[-1] if lines else None


def named(error: BaseException) -> str:
    """An error with its kind, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def run_here(sha256: str | None) -> BlockCode | None:
    """The code of this hash, where this process has run it because the user named it."""
    return _RUN.get(sha256 or "")


def _path(name: str) -> Path:
    where = name.rpartition(":")[0]
    return Path(where).expanduser() if names_file(name) else _find(name, where)


def _folder(name: str, path: Path) -> str | None:
    folder = path.absolute().parent
    if names_file(name):
        return None if path.name == OWN_BLOCK and (folder / CONFIG).exists() else str(folder)
    above = name.partition(":")[0].count(".") + (path.name == "__init__.py")
    return str([folder, *folder.parents][above])


def _text(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--block {name}: {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--block {name}: {path} is no text in UTF-8.") from error


def _find(name: str, module: str) -> Path:
    """The file of a module."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # python -m looks there, a console script does not
    found = _spec(module)
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise UserError(
            f"--block {name}: there is no module {module} here: start where it lies, install it, "
            f"or give its file, path/file.py:{name.rpartition(':')[2]}."
        )
    return Path(found.origin)


def _spec(module: str) -> ModuleSpec | None:
    try:
        return find_spec(module)
    except (ImportError, ValueError):  # no such package around it, or no name of a module
        return None


@contextmanager
def _imports(code: BlockCode) -> Iterator[None]:
    """While this lasts the code finds what lies in its folder; a module finds it from then on."""
    if names_file(code.name):
        with _beside(code.folder):
            yield
        return
    if code.folder is not None and _spec(code.name.partition(":")[0].partition(".")[0]) is None:
        sys.path.append(code.folder)  # of a worker, whose path is not the driver's
    yield


@contextmanager
def _beside(folder: str | None) -> Iterator[None]:
    """While this lasts, what lies in a folder can be imported by its bare name, as by a script.

    It is forgotten then: the file of another block may have another neighbour of that name.
    """
    if folder is None:
        yield
        return
    before = set(sys.modules)
    sys.path.append(folder)  # last: it hides nothing that is installed
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder):
                del sys.modules[name]


@lru_cache(maxsize=16)
def _load(code: BlockCode) -> type[Block]:
    where, _, name = code.name.rpartition(":")
    module = ModuleType(f"noprop_own_block_{code.sha256[:16]}")
    module.__file__ = where
    module.__package__ = "" if names_file(code.name) else where.rpartition(".")[0]
    sys.modules[module.__name__] = module  # dataclasses and type hints look for it
    try:
        with _imports(code):
            exec(compile(code.source, where, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        how = (
            f"; a file in a package is named package.module:{name}" if names_file(code.name) else ""
        )
        raise UserError(
            f"--block {code.name} cannot be imported ({named(error)}): mend it; where it is a "
            f"worker that cannot, install there what the module imports{how}."
        ) from error
    _RUN[code.sha256] = code
    block = getattr(module, name, None)
    if not inspect.isclass(block) or not issubclass(block, Block) or inspect.isabstract(block):
        raise UserError(
            f"--block {code.name}: {where} has no class {name} that is a noprop_dist Block with a "
            "method classify: see docs/extending.md."
        )
    return block
