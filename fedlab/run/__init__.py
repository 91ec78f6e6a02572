"""Runs: an experiment in, its round loop, and a folder with everything it produced. Knows no algorithm's name."""
