"""Searching settings: a space, trials of it, and a table of what they reached."""
