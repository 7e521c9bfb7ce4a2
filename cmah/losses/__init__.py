"""Losses, one concept per file; each is a plain function of tensors."""
