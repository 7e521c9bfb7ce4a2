"""Losses, one concept a file; each is a plain function of tensors."""
