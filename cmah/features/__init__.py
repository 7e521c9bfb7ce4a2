"""Outputs of frozen encoders, computed once and kept, and the training batches made of them."""
