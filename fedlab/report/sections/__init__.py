"""The sections of a run's page: a module per section, each with `build(run) -> Section | None`."""
