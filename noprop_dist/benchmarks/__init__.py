"""Measurements behind the project's claims, run by ``noprop benchmark`` and ``noprop chaos``."""
