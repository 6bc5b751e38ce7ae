"""Whether the Hugging Face hub can be reached, asked before its libraries wait and try again."""

from __future__ import annotations

import contextlib
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator


@contextlib.contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Inside, the hub's libraries use their caches only if its name has no address here.

    Without this they try for half a minute, and say so on every try. A proxy finds names itself, so
    with one nothing is changed.
    """
    from huggingface_hub import constants

    host = urllib.parse.urlsplit(constants.ENDPOINT).hostname
    if constants.HF_HUB_OFFLINE or urllib.request.getproxies() or _has_address(host):
        yield
        return
    holders = [constants]
    if "datasets" in sys.modules:
        holders.append(sys.modules["datasets"].config)
    for holder in holders:
        holder.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for holder in holders:
            holder.HF_HUB_OFFLINE = False  # type: ignore[attr-defined]


def _has_address(host: str | None) -> bool:
    try:
        return host is not None and bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False
