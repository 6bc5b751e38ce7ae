"""`python -m heed` is the command `heed`."""

from __future__ import annotations

import os
import sys

# With -m, Python looks for every module in the working directory first, and that may be a folder
# from a stranger. A user's own modules there are found when a config names one (`build.locate`).
if __name__ == "__main__" and sys.path and os.path.abspath(sys.path[0]) == os.getcwd():
    del sys.path[0]

from heed.cli import main

if __name__ == "__main__":
    sys.exit(main())
