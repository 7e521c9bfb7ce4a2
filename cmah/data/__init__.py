"""Dataset folders: reading and writing them, making them from meshes, and drawing batches from them."""
