"""Where a run's units are computed, and the features of its pictures."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from noprop_dist.config import TrainConfig
from noprop_dist.data.features import Computing
from noprop_dist.engine.executor import Backend
from noprop_dist.engine.local import local_backend
from noprop_dist.errors import needing_ray

NO_RAY = (
    "Ray is not installed: install ray[default], or give --executor local to train in this process."
)


def computing_of(config: TrainConfig) -> Computing | None:
    """Who makes the features of a run: a cluster that is there, or None, this process.

    Raises:
        UserError: Ray is not installed.
    """
    if config.features is None or config.executor != "ray":
        return None
    with needing_ray(NO_RAY):
        from noprop_dist.distributed.cluster import is_private
    if is_private():  # this machine, whose cores or GPU this process has without Ray
        return None
    from noprop_dist.distributed.features_on_ray import on_cluster

    return partial(on_cluster, config)


def _here(config: TrainConfig, data_bytes: int) -> AbstractContextManager[Backend]:
    return nullcontext(local_backend(config))


def _on_ray(config: TrainConfig, data_bytes: int) -> AbstractContextManager[Backend]:
    with needing_ray(NO_RAY):
        from noprop_dist.distributed.ray_backend import ray_backend
    return ray_backend(config, data_bytes)


# By the value of --executor: the options and the bytes of the data -> where units run.
BACKENDS: dict[str, Callable[[TrainConfig, int], AbstractContextManager[Backend]]] = {
    "ray": _on_ray,
    "local": _here,
}


def open_backend(config: TrainConfig, data_bytes: int) -> AbstractContextManager[Backend]:
    """Where the units of a run compute.

    Raises:
        UserError: there are no such devices, or Ray is not installed.
    """
    return BACKENDS[config.executor](config, data_bytes)
