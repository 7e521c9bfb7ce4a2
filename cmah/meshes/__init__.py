"""Foreign mesh files to checked triangles with colours, their points, and views of them."""

MESH_SUFFIXES = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")
"""The mesh files that are read, by suffix in lower case."""
