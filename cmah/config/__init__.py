"""Settings of a run: the schema, and reading it from TOML files and KEY=VALUE strings."""
