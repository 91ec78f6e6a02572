"""The command line: turns argv into a validated configuration and calls a verb."""
