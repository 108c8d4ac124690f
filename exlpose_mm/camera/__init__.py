"""The low-light camera: NumPy and SciPy only."""
