"""The HTML page of an evaluation, and sheets of queries and hits, without torch."""
