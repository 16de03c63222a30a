"""What deltas.py is made of: pairs of weights a few steps apart, and how large what changed between them is.

`training` makes pairs, `pairs` holds them, `bounds` has their entropies, `coders` has huffwire and those that it is compared
with, `measure` makes the report, `document` and `figures` write docs/deltas.md. Only `training` imports torch.
"""
