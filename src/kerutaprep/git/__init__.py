"""The repository: its commands, the clone in the work directory, and what it keeps elsewhere."""
