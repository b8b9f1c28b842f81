"""The options in a run folder, read back and checked; nothing here imports PyTorch."""

from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import check_types
from noprop_dist.config.former_names import by_new_names
from noprop_dist.errors import UserError
from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import CONFIG


def read_config(store: Store) -> TrainConfig | None:
    """The options in a run folder, or None where there are none.

    Raises:
        UserError: they are not what a run writes.
    """
    reader, name = Reader(store), f"{store.root}/{CONFIG}"
    data = reader.read(CONFIG)
    if data is None:
        return None
    values = parse_yaml(data, name)
    if not isinstance(values, dict):
        raise reader.foreign(CONFIG, "it must hold lines option: value")
    return config_of(values, name)


def parse_yaml(data: bytes, where: str) -> Any:
    """What YAML holds.

    Args:
        data: the file.
        where: what to call it.

    Raises:
        UserError: it is no YAML, or says something twice.
    """
    import yaml

    class OnceLoader(yaml.SafeLoader):
        """Refuses a key that stands twice, of which the parser would take the last unsaid."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.constructor.ConstructorError(
                        problem=f"{key} stands there twice", problem_mark=node.start_mark
                    )
            return super().construct_mapping(node, deep)

    try:
        return OnceLoader(data).get_single_data()
    # ValueError: what looks like a date or a number and is none, such as 2024-13-45.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where} is not valid YAML ({reason}).") from error


def config_of(values: dict[str, Any], where: str) -> TrainConfig:
    """The options as one checked object.

    Args:
        values: by field name, of today or before.
        where: the file they stand in, for messages.

    Raises:
        UserError: an unknown option, or a value that cannot be.
    """
    values = by_new_names(TrainConfig, values)
    check_types(TrainConfig, values, where)
    return TrainConfig(**values)
