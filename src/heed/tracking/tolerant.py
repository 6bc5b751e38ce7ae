"""Trackers may fail; a training goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class Tolerant:
    """What a logger of a service inherits: the first failure is said in one line, then it is quiet.

    `failed` tells whether that has happened; from then on nothing is attempted.
    """

    tracker = "tracker"
    failed = False

    def attempt(self, what: str, action: Callable[[], Result]) -> Result | None:
        """The action's result, or None if the tracker has failed, now or before."""
        if self.failed:
            return None
        try:
            return action()
        except Exception as error:
            if self.failed:  # said meanwhile, by another thread
                return None
            self.failed = True
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            _log.warning(
                "%s failed (%s: %s). The run goes on without it; metrics.csv has everything.",
                self.tracker,
                what,
                reason,
            )
            return None
