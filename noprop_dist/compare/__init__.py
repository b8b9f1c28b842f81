"""NoProp beside back-propagation: the same blocks, data and budget, measured in one command."""
