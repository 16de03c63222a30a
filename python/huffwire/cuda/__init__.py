"""Messages coded and decoded on a GPU: the same format as on a CPU. What is public of it is in `huffwire.torch`."""

__all__: list[str] = []
