"""Lossless compression of machine-learning tensors with Huffman codebooks fixed in advance."""

from huffwire._huffwire import __version__

__all__ = ["__version__"]
