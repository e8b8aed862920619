"""The outer ring: command line and HTTP."""
