"""Binary codes and embeddings with an id, category, … per row, and the files they are kept in."""

from cmah.codes.binary_codes import BinaryCodes, Embeddings, read_codes, write_codes

__all__ = ["BinaryCodes", "Embeddings", "read_codes", "write_codes"]
