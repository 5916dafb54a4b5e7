"""The schema, one file a change. `gateway migrate` runs them in order of their ids."""
