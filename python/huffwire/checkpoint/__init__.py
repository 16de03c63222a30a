"""Checkpoints of `torch.distributed.checkpoint` whose tensors are huffwire messages.

`Writer` and `Reader` take the places of `FileSystemWriter` and `FileSystemReader`:

    import torch.distributed.checkpoint as dcp
    from huffwire.checkpoint import Reader, Writer

    dcp.save(state_dict, storage_writer=Writer("checkpoints/1000"))
    dcp.load(state_dict, storage_reader=Reader("checkpoints/1000"))

Every bit comes back, into any number of ranks. A folder holds a checkpoint from the moment at which
its file `.metadata` is there; an interrupted save leaves an older checkpoint in the same folder
whole.

Like those of torch, checkpoints are for people who trust each other: the file `.metadata` and
values that are no tensors are pickles, and a pickle can run any program. Files of strangers are
read with `huffwire.torch.load_file`.
"""

from huffwire._roles import ROLES, Report, Share, role_of
from huffwire.checkpoint._load import Reader, report
from huffwire.checkpoint._save import Writer

__all__ = ["ROLES", "Reader", "Report", "Share", "Writer", "role_of", "report"]

for _public in (Reader, Writer, report):
    # People see them, and pickle finds them, as `huffwire.checkpoint.Reader`.
    _public.__module__ = "huffwire.checkpoint"
