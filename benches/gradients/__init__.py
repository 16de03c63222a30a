"""The study of quantized gradients: see README.md beside this folder."""
