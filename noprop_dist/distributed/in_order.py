"""What actors of a cluster make of rows, in the order of the rows, by Ray Data."""

import logging
from collections.abc import Callable, Iterator
from typing import Any
from warnings import catch_warnings, simplefilter

import ray
import ray.data
from ray.exceptions import RayActorError, RayError
from ray.util.annotations import RayDeprecationWarning
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from noprop_dist.distributed.cluster import WorkerNeeds, count_slots
from noprop_dist.errors import UserError

TRIES = 3  # of a row at which an actor dies
READERS = 2  # processes that read ahead of the actors

Row = dict[str, Any]


def fetched(value: Any) -> Any:
    """What was put into the object store; anything else as it is."""
    return ray.get(value) if isinstance(value, ray.ObjectRef) else value


def made_in_order(
    rows: list[Row],
    actor: Any,
    given: tuple[Any, ...],
    needs: WorkerNeeds,
    cannot: str,
    most: int | None = None,
    read: Callable[[Row], Row] | None = None,
) -> Iterator[Row]:
    """What actors make of rows, of which a few are under way at once; Ray must be connected.

    Args:
        rows: what actors are called with, or what ``read`` is; small, as all are in memory.
        actor: its class.
        given: what it is constructed with.
        needs: what it asks of the cluster.
        cannot: the sentence where the cluster fails, with {} for the reason.
        most: actors; None, as many as the cluster holds.
        read: called on this node, with what is on its disk.

    Raises:
        UserError: ``cannot``.
    """
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised, too
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    done = tries = 0
    while done < len(rows):
        try:
            for row in _mapped(rows[done:], actor, given, needs, most, read).iter_rows():
                yield row
                done += 1
                tries = 0
        except RayError as error:
            tries += 1
            # Ray Data would start an actor again, but not without saying each time, on standard
            # error, that this may fail.
            if isinstance(error, RayActorError) and tries < TRIES:
                continue
            reason = str(error).strip().rpartition("\n")[2]
            raise UserError(cannot.format(reason)) from error


def _mapped(
    rows: list[Row],
    actor: Any,
    given: tuple[Any, ...],
    needs: WorkerNeeds,
    most: int | None,
    read: Callable[[Row], Row] | None,
) -> ray.data.Dataset:
    data: ray.data.Dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    if read is not None:
        # It takes no core from the actors, and Ray Data lets it wait while they are behind.
        node = ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        data = data.map(read, num_cpus=0, concurrency=READERS, scheduling_strategy=here)
    size = max(1, min(count_slots(needs), most or len(rows), len(rows)))
    with catch_warnings():
        simplefilter("ignore", RayDeprecationWarning)  # there is no other way to give max_restarts
        return data.map(
            actor,
            fn_constructor_args=given,
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            resources=needs.resources,
            max_restarts=0,
        )
