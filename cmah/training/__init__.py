"""Configuration, the training loop and its checkpoints."""
