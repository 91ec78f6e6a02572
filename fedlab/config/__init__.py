"""Composes a configuration with Hydra, validates it, and words what is wrong with it. Only this folder and `cli` know Hydra."""
