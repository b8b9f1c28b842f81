"""Where Ray Tune keeps its own files while a sweep runs."""

from typing import Any

from pyarrow import fs

from noprop_dist.record.remote import has_no_folders, open_remote


class WithoutFolders(fs.FileSystemHandler):  # type: ignore[misc]  # pyarrow has no types
    """An object store in which no folder is made.

    Tune makes each of its folders, for which pyarrow writes an empty object whose name ends in a
    slash. It is of no use, and some stores refuse such a name.

    Args:
        remote: the store.
    """

    def __init__(self, remote: fs.FileSystem) -> None:
        self.remote = remote

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WithoutFolders) and bool(self.remote == other.remote)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def get_type_name(self) -> str:  # noqa: D102
        return str(self.remote.type_name)

    def create_dir(self, path: str, recursive: bool) -> None:
        """Do nothing."""

    def get_file_info(self, paths: list[str]) -> Any:  # noqa: D102
        return self.remote.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> Any:  # noqa: D102
        return self.remote.get_file_info(selector)

    def delete_dir(self, path: str) -> None:  # noqa: D102
        self.remote.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:  # noqa: D102
        self.remote.delete_dir_contents(path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:  # noqa: D102
        raise NotImplementedError

    def delete_file(self, path: str) -> None:  # noqa: D102
        self.remote.delete_file(path)

    def move(self, src: str, dest: str) -> None:  # noqa: D102
        self.remote.move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:  # noqa: D102
        self.remote.copy_file(src, dest)

    def normalize_path(self, path: str) -> str:  # noqa: D102
        return str(self.remote.normalize_path(path))

    def open_input_stream(self, path: str) -> Any:  # noqa: D102
        return self.remote.open_input_stream(path)

    def open_input_file(self, path: str) -> Any:  # noqa: D102
        return self.remote.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:  # noqa: D102
        return self.remote.open_output_stream(path, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> Any:  # noqa: D102
        return self.remote.open_append_stream(path, metadata=metadata)


def storage_of(folder: str) -> dict[str, Any]:
    """The arguments of Tune's ``RunConfig`` that name the folder of a sweep.

    Args:
        folder: an absolute path, or a URI.

    Raises:
        UserError: the URI is of no use, or its store cannot be reached.
    """
    if "://" not in folder:
        return {"storage_path": folder}
    remote, path = open_remote(folder)
    if remote is None or not has_no_folders(remote):
        return {"storage_path": folder}
    kept = fs.PyFileSystem(WithoutFolders(remote))
    return {"storage_path": str(path), "storage_filesystem": kept}
