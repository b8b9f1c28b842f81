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
READERS = 2  # processes that read ahead for the actors

Row = dict[str, Any]


def there(value: Any) -> Any:
    """A value that was put into the object store, or the value itself."""
    return ray.get(value) if isinstance(value, ray.ObjectRef) else value


def made_in_order(
    rows: list[Row],
    actor: Any,
    given: tuple[Any, ...],
    needs: WorkerNeeds,
    cannot: str,
    most: int | None = None,
    read: Callable[..., Row] | None = None,
    of: Any = None,
) -> Iterator[Row]:
    """What actors make of rows; a few rows are under way at a time, and Ray must be connected.

    Args:
        rows: small ones, all of them in memory.
        actor: a class that is called with a row.
        given: what an actor is made of.
        needs: what an actor asks of the cluster.
        cannot: the sentence where the cluster fails, with {} for the reason.
        most: actors at once; None takes the whole cluster.
        read: called with a row and ``of`` on this node, makes what an actor is called with.
        of: what is read.

    Raises:
        UserError: ``cannot``: an actor fails, or dies again and again at a row.
    """
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised, too
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    done = tries = 0
    while done < len(rows):
        left = rows[done:]
        data: ray.data.Dataset = ray.data.from_items(left, override_num_blocks=len(left))
        if read is not None:
            here = NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=False
            )
            # Ray Data holds them back while actors are behind. They take no core from actors.
            data = data.map(
                read, fn_args=(of,), num_cpus=0, concurrency=READERS, scheduling_strategy=here
            )
        actors = max(1, min(count_slots(needs), len(left), most or len(left)))
        try:
            for row in _mapped(data, actor, given, needs, actors).iter_rows():
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
    data: ray.data.Dataset, actor: Any, given: tuple[Any, ...], needs: WorkerNeeds, actors: int
) -> ray.data.Dataset:
    with catch_warnings():
        simplefilter("ignore", RayDeprecationWarning)  # there is no other way to give max_restarts
        return data.map(
            actor,
            fn_constructor_args=given,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            resources=needs.resources,
            max_restarts=0,
        )
