"""The project: one database whose current state is derived from an append-only journal."""
