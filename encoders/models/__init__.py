"""Weights that travel with the package, one folder per model, each with checksums and a NOTICE."""
