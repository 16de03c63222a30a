"""A Gemma-shaped model, its training, and what `huffwire analyze` makes of its tensors."""
