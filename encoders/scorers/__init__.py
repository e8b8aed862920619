"""Scorers of query and document pairs (cross-encoders), counted and remembered."""
