"""Runs: the options of an experiment, its round loop, and the folder with its results. Depends on no algorithm."""
