"""Training: hooks and checkpoints."""
