"""The on-disk index: a SQLite catalog and immutable, checksummed segments."""
