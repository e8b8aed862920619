"""The index as a library: add, search, explain."""
