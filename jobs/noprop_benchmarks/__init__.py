"""Measurements behind the project's claims, run by ``jobs/benchmark.py``."""
