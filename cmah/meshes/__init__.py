"""Foreign mesh files to checked triangles with colours, and pictures of them."""
