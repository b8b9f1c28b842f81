"""What a run leaves behind: checkpoints, history, events; and the live view."""
