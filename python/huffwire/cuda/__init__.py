"""Messages coded and decoded on a GPU: the same bytes as on a CPU."""
