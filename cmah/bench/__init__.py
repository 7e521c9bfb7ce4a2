"""How fast the index is, beside other engines and beside what the machine can do at most."""
