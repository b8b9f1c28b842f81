"""Every picture: how it looks, how it becomes a file; knows no commands."""
