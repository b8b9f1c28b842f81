"""Sweeps on Ray Tune: the part of the room that knows Ray."""

# It sets what Ray reads when it is first imported.
import noprop_dist.distributed  # noqa: F401
