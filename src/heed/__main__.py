"""`python -m heed` is the command `heed`."""

from __future__ import annotations

import sys

from heed.cli import main

if __name__ == "__main__":
    sys.exit(main())
