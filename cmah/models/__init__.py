"""Networks: tokenizers, encoders, fusion, decoders, hash heads and the CMAH model."""
