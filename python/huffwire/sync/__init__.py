"""Weights that several processes hold alike: one publishes them, others follow, and only what changed travels.

`Publisher` and `Subscriber` meet in a folder, or in a process group of ``torch.distributed``. ``docs/sync.md`` is the
guide.
"""

from huffwire.sync._following import Update
from huffwire.sync._live import Change
from huffwire.sync._publisher import Published, Publisher
from huffwire.sync._storage import Folder, Lock, Storage
from huffwire.sync._subscriber import Subscriber

__all__ = [
    "Change",
    "Folder",
    "Lock",
    "Published",
    "Publisher",
    "Storage",
    "Subscriber",
    "Update",
]
