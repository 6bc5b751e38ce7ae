"""What every test needs: one thread a worker, no network, no traces outside temporary folders."""

from __future__ import annotations

import os
import tempfile

# Before torch is imported: tests run in several processes, and threads would get in their way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HEED_CACHE", tempfile.mkdtemp(prefix="heed-tests-"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
