"""A door with visitors, and the whole stack, on a laptop."""
