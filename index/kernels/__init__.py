"""Compiled kernels: the scalar functions, the loop over items and the typed face in each file."""
