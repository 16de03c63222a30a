"""What one rank runs: the cases of a job, which is a JSON file. It tells what it found in lines of JSON on stdout.

python -m wire.rank JOB RANK
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

# Some virtual machines announce AMX and do not run it; oneDNN then needs to be told.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

import torch
import torch.distributed as dist

from wire import collectives, loopback, seeds, trainings
from wire.turns import Rank

CASES = {
    "collectives": collectives.run,
    "ddp": trainings.ddp,
    "fsdp": trainings.fsdp,
    "loopback": loopback.run,
    "loss": seeds.run,
}


def end_with_parent() -> None:
    """Ends this process when the program that started it is gone, which closes our stdin."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    number = int(sys.argv[2])
    end_with_parent()
    torch.set_num_threads(1)
    telling = sys.stdout

    def tell(kind: str, **what: Any) -> None:
        if number == 0:
            print(json.dumps({"kind": kind, **what}), file=telling, flush=True)

    # What libraries print must not be taken for a report.
    sys.stdout = sys.stderr
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(job["store"], job["ranks"]),
        rank=number,
        world_size=job["ranks"],
        timeout=timedelta(seconds=job["timeout"]),
    )
    rank = Rank(number, job["ranks"], job["interface"], tell, job)
    for what in job["what"]:
        CASES[what](rank)
    tell("done", transports=job["transports"], torch=torch.__version__)
    rank.barrier()
    sys.stderr.flush()
    # Threads of gloo and of huffwire need not be waited for.
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        # At once: other ranks, and threads that wait for them, would delay the end.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
