"""Test collections, metrics and benchmarks."""
