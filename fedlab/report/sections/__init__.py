"""What a run's page is made of: a module per section, each with `build(run) -> Section | None`."""
