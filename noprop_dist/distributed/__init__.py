"""Units on a Ray cluster: the only room that knows Ray."""

import os

if "RAY_ADDRESS" not in os.environ:
    # Ray reads this when it is first imported: the nodes of a private cluster then listen on
    # loopback alone. On a cluster of several machines it must stay unset.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
