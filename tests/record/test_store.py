import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from noprop_dist.errors import UserError
from noprop_dist.record.store import Store, above, inside


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel cuts every write off at ``size`` bytes, as a disk does that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may write anywhere, so it steps down."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(params=["local", "file uri", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    roots = {"local": str(tmp_path), "file uri": tmp_path.as_uri(), "object store": "mock:///b/run"}
    return Store(roots[request.param])


def test_files_are_written_listed_and_deleted(store: Store) -> None:
    assert store.list("a") == []
    store.write("a/two", b"2")
    store.write("a/one", b"0")
    store.write("a/one", b"1")
    assert store.list("a") == ["one", "two"]
    assert store.read("a/one") == b"1"
    assert store.exists("a/two")
    store.delete_tree("a")
    store.delete_tree("a")
    assert not store.exists("a/two")
    with pytest.raises(FileNotFoundError):
        store.read("a/two")


def test_only_a_store_on_this_machine_has_a_folder(tmp_path: Path) -> None:
    assert Store(tmp_path).local == tmp_path
    assert Store((tmp_path / "a b").as_uri()).local == tmp_path / "a b"
    assert Store("mock:///bucket/run").local is None


def test_appended_lines_are_readable_once_another_file_is_written(store: Store) -> None:
    for line in ["one", "two", "three"]:
        store.append_line("log", line)
    store.write("other", b"")
    assert store.read("log") == b"one\ntwo\nthree\n"


def test_write_cut_off_by_the_disk_leaves_the_old_file_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("a/b", b"old")
    with (
        file_size_limit(1000),
        pytest.raises(UserError, match=r"cannot be written to .*free some space"),
    ):
        store.write("a/b", bytes(5000))
    assert store.read("a/b") == b"old"
    assert store.list("a") == ["b"]


@pytest.mark.parametrize("step", ["open", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_disk_that_refuses_any_step_of_a_write_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    store = Store(tmp_path)
    store.write("a/b", b"old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, refuse)
        with pytest.raises(UserError) as caught:
            store.write("a/b", b"new")
    assert str(tmp_path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert store.read("a/b") == b"old"
    assert store.list("a") == ["b"]


def test_folder_without_permission_to_write_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o555)
    monkeypatch.chdir(folder)  # an ordinary user need not be able to walk down to it
    with ordinary_user():
        store = Store(".")
        with pytest.raises(UserError, match=r"cannot be written to \(Permission denied\)"):
            store.write("b", b"new")
        with pytest.raises(UserError, match=r"cannot be written to \(Permission denied\)"):
            store.append_line("log", "line")
    assert list(folder.iterdir()) == []


def test_root_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UserError, match="cannot be written to"):
        Store(tmp_path / "run").write("a/b", b"new")


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(UserError, match="no usable URI"):
        Store("carrier://pigeon")


def test_store_whose_library_is_not_there_is_told_in_a_line() -> None:
    with pytest.raises(UserError, match=r"cannot be reached \(.*\): check the URI") as caught:
        Store("hdfs://127.0.0.1:1/run")
    assert "\n" not in str(caught.value)


def test_a_store_inside_another_keeps_what_a_uri_asks_for() -> None:
    assert inside("runs/a", "trials/0001") == "runs/a/trials/0001"
    assert inside("runs/a?b/", "trials/0001") == "runs/a?b/trials/0001"
    assert inside("s3://b/a", "x") == "s3://b/a/x"
    assert inside("s3://b/a?region=r", "x/y") == "s3://b/a/x/y?region=r"


def test_what_a_folder_or_uri_lies_in_keeps_what_the_uri_asks_for() -> None:
    assert above("runs/a/model/") == ("runs/a", "model")
    assert above("a") == ("", "a")
    assert above("/a") == ("/", "a")
    assert above("s3://b/a/model?region=r") == ("s3://b/a?region=r", "model")
