"""A training step as a CUDA graph: one launch instead of some 150 of 5 to 10 microseconds each."""

import threading
from collections.abc import Callable

import torch

from noprop_dist.engine.live_block import LiveBlock, Replay
from noprop_dist.model.device import new_stream
from noprop_dist.text import first_line

WARM_UP = 3  # steps before: libraries make their workspaces in the first ones
_one_at_a_time = threading.Lock()


def record_graph(live: LiveBlock, note: Callable[[str], object]) -> Replay | None:
    """Record the step of a block on a GPU; leaves no trace in the block.

    Every replay reads the seed that the block's generator then has, and so draws what a step that
    is computed with that seed draws.

    Args:
        live: with a batch in ``x`` and ``y``.
        note: told in a line why there is no graph.

    Returns:
        What replays the step, or None where it cannot be recorded.

    Raises:
        torch.OutOfMemoryError: memory is not enough.
    """
    before = {name: tensor.clone() for name, tensor in live.changing().items()}
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(live.draw)
    side = new_stream(live.device)
    side.wait_stream(torch.cuda.current_stream(live.device))
    with _one_at_a_time:
        try:
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    live.compute(live.x, live.y)
            # Other threads may go on allocating meanwhile, on streams of their own.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                live.compute(live.x, live.y)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            note(f"block {live.t} runs without a CUDA graph ({first_line(error)})")
            return None
        finally:
            torch.cuda.current_stream(live.device).wait_stream(side)
            for name, tensor in live.changing().items():
                tensor.copy_(before[name])
    return graph.replay
