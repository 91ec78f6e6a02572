"""Pictures and pages of runs. Reads only the records and files that a run wrote."""
