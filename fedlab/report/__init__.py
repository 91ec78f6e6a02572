"""Pictures and pages made from what a run wrote. Reads records and files, and knows nothing else of the project."""
