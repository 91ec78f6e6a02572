"""The command line: argv in, a validated configuration and a verb out. Hydra is known here and nowhere else."""
