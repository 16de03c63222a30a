"""What all tests need before they import anything."""

import os

# A machine may announce instructions (AMX) that it does not run. torch then dies with an illegal
# instruction in products of bf16 matrices.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

from hypothesis import settings  # noqa: E402

# Other programs may run at the same time.
settings.register_profile("patient", deadline=None, print_blob=True)
settings.load_profile("patient")
