"""What a result was measured on and with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
PACKAGES = ("torch", "lightning", "transformers", "tokenizers", "datasets", "ctranslate2", "numpy")


def describe(device: str) -> dict[str, Any]:
    """The machine in plain values: processor, what it multiplies fast, threads, GPU, load."""
    import torch

    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "instructions": [flag for flag in FLAGS if flag in cpu_flags()],
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def slug(machine: dict[str, Any]) -> str:
    """The class of a machine, for file names: ratios are compared only within one."""
    name = machine.get("gpu") or f"{machine['cpu']} {' '.join(machine['instructions'][-1:])}"
    threads = "" if machine.get("gpu") else f" {machine['threads']}"
    return re.sub(r"[^a-z0-9]+", "_", f"{name}{threads}".lower()).strip("_")


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter, where they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of this tree, with "+" where it is changed; "" outside of git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@cache
def cpu_name() -> str:
    """Of the processor, without trademarks."""
    for line in _cpuinfo():
        if line.startswith("model name"):
            name = line.partition(":")[2]
            return " ".join(re.sub(r"\((R|TM)\)|CPU|@.*", " ", name).split())
    return platform.processor() or platform.machine()


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor; none where it cannot be told."""
    for line in _cpuinfo():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
