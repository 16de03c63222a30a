"""Weights as SGLang's ``POST /pull_weights`` takes them, and as slime publishes them.

`Writer` publishes versions that these engines apply to their checkpoint. `Reader` follows such versions, whoever
published them, and applies them to tensors in memory. ``docs/disk-delta.md`` describes the files.

    from huffwire.sync.disk_delta import Writer

    writer = Writer("/shared/updates", checkpoint)   # what the engines have loaded
    for step in training:
        writer.publish(state_dict)                   # then POST /pull_weights

Both need what they compare with, the tensors of the version before, in memory once.
"""

from huffwire.sync.disk_delta._read import Reader, Update
from huffwire.sync.disk_delta._write import Published, Writer

__all__ = ["Published", "Reader", "Update", "Writer"]

for _public in (Published, Reader, Update, Writer):
    # People see them, and pickle finds them, as `huffwire.sync.disk_delta.Reader`.
    _public.__module__ = "huffwire.sync.disk_delta"
