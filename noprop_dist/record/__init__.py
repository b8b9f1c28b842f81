"""What a run leaves behind: checkpoints, history, events, pictures, and the live view."""
