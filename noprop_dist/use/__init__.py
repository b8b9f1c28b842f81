"""Using a trained network: evaluate it, predict with it, export it."""
