"""The network: blocks, readouts, and the assembled network with honest inference."""
