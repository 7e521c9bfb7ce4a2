"""The run folder that training writes, and what encodes, exports and classifies with it."""
