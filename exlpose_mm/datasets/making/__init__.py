"""Data sets that we write."""
