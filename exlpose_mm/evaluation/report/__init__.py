"""The report of a test, as one HTML page."""
