"""Units on a Ray cluster: the only room that knows Ray.

Ray reads its environment when it is first imported, so what a private cluster needs is set here.
"""

import os
import secrets

# Ray prints what its nodes complain of, such as a worker's death, to standard output, into what a
# command prints there. Commands say themselves what a user has to know.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")

if os.environ.get("RAY_ADDRESS") in (None, "", "local"):
    # The nodes of a private cluster listen on loopback alone. On a cluster of several machines it
    # must stay unset.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # So do its workers among themselves, which inherit this.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    if not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # A token of its own; Ray would else write one to the home directory, and every later
        # "ray start" there would ask its clients for it.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
