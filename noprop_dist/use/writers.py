"""Predictions as lines for people, as JSON lines, or as Parquet; written as they come."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from noprop_dist.data.parquet_files import OWN
from noprop_dist.errors import UserError
from noprop_dist.record.store import Store
from noprop_dist.text import json_line, printable, shown
from noprop_dist.use.predict import Answer

Write = Callable[[Sequence[Answer]], None]
Make = Callable[[BinaryIO, Sequence[str]], AbstractContextManager[Write]]

DIGITS = 6  # of a probability in JSON: float32 has some seven


@contextmanager
def open_writer(
    kind: str, output: str | None, class_names: Sequence[str], *, rows: bool = False
) -> Iterator[Write]:
    """Something to hand answers to. A file appears under its name once all is written.

    Args:
        kind: "table", "jsonl" or "parquet".
        output: the file, or None for standard output.
        class_names: K names.
        rows: whether answers are to rows of files.

    Raises:
        UserError: the file cannot be written.
    """
    makers: dict[str, Make] = {
        "table": _table, "jsonl": _json_lines, "parquet": partial(_parquet, rows=rows),
    }  # fmt: skip
    make = makers[kind]
    if output is None:
        with make(sys.stdout.buffer, class_names) as write:
            yield write
        return
    target = Path(output).expanduser()
    Store(target.parent, "--output").check_writable()
    if target.is_dir():
        raise UserError(f"--output {output} is a folder: give the name of a file.")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with ExitStack() as stack:
        with _explained(output):
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.callback(temporary.unlink, missing_ok=True)
            file = stack.enter_context(temporary.open("wb"))
            making = stack.enter_context(ExitStack())
            write_file = making.enter_context(make(file, class_names))

        def write(answers: Sequence[Answer]) -> None:
            with _explained(output):
                write_file(answers)

        yield write
        with _explained(output):
            making.close()  # Parquet's footer
            file.close()
            temporary.replace(target)


@contextmanager
def _explained(output: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--output {output} cannot be written ({error.strerror or error}): give another file."
        ) from error


@contextmanager
def _table(out: BinaryIO, class_names: Sequence[str]) -> Iterator[Write]:
    names = [printable(name) for name in class_names]
    wide = max(map(len, names))

    def write(answers: Sequence[Answer]) -> None:
        paths = [printable(answer.path) + _row(answer) for answer in answers]
        width = max(map(len, paths), default=0)
        for path, answer in zip(paths, answers, strict=True):
            top = "   ".join(
                f"{names[label]:<{wide}} {100 * p:5.1f} %"
                for label, p in zip(answer.labels, answer.probabilities, strict=True)
            )
            out.write(f"{path:<{width}}  {top}\n".encode())
        out.flush()

    yield write


def _row(answer: Answer) -> str:
    return "" if answer.row is None else f" row {answer.row}"


@contextmanager
def _json_lines(out: BinaryIO, class_names: Sequence[str]) -> Iterator[Write]:
    def write(answers: Sequence[Answer]) -> None:
        for answer in answers:
            top = [
                {"label": label, "class": class_names[label], "probability": round(p, DIGITS)}
                for label, p in zip(answer.labels, answer.probabilities, strict=True)
            ]
            row = {} if answer.row is None else {"row": answer.row}
            out.write(json_line({"file": answer.path, **row, "top": top}).encode() + b"\n")
        out.flush()

    yield write


@contextmanager
def _parquet(out: BinaryIO, class_names: Sequence[str], rows: bool) -> Iterator[Write]:
    """Columns ``file`` and maybe ``row``, and lists ``labels``, ``classes``, ``probabilities``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [shown(name) for name in class_names]
    schema = pa.schema(
        {
            "file": pa.string(),
            **({"row": pa.int64()} if rows else {}),
            "labels": pa.list_(pa.int64()),
            "classes": pa.list_(pa.string()),
            "probabilities": pa.list_(pa.float32()),
        },
        metadata={OWN: b"predictions"},
    )
    with pq.ParquetWriter(out, schema) as file:

        def write(answers: Sequence[Answer]) -> None:
            columns: dict[str, list[Any]] = {
                "row": [a.row for a in answers],
                "file": [shown(a.path) for a in answers],
                "labels": [a.labels for a in answers],
                "classes": [[names[label] for label in a.labels] for a in answers],
                "probabilities": [a.probabilities for a in answers],
            }
            file.write_table(pa.table({k: columns[k] for k in schema.names}, schema=schema))

        yield write
