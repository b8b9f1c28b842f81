"""The options in a run folder, read back and checked; nothing here imports PyTorch."""

from typing import Any

from noprop_dist.config import TrainConfig, check_types
from noprop_dist.errors import UserError
from noprop_dist.record.store import Store

FILE = "config.yaml"


def read_config(store: Store) -> TrainConfig | None:
    """The options in a run folder, or None where there are none.

    Raises:
        UserError: they are not what a run writes.
    """
    import yaml

    name = f"{store.root}/{FILE}"
    try:
        values = yaml.safe_load(store.read(FILE))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name} cannot be read ({reason}).") from error
    if not isinstance(values, dict):
        raise UserError(f"{name} is not what a run writes: it must hold lines option: value.")
    return config_of(values, name)


def config_of(values: dict[str, Any], where: str) -> TrainConfig:
    """The options as one checked object.

    Args:
        values: by field name.
        where: the file they stand in, for messages.

    Raises:
        UserError: an unknown option, or a value that cannot be.
    """
    check_types(values, where)
    return TrainConfig(**values)
