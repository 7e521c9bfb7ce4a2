"""From a folder of meshes to a dataset folder."""
