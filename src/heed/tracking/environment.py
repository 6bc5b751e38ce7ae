"""What a run ran on: package versions, hardware, and the code as git knows it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from heed.cores import usable_cores

if TYPE_CHECKING:
    import lightning.pytorch as pl

_PACKAGES = (
    "heed-nlp",
    "torch",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "datasets",
    "tokenizers",
    "transformers",
    "safetensors",
    "sacrebleu",
    "rouge-score",
    "numpy",
    "wandb",
    "tensorboard",
)
_GIT_SECONDS = 5.0
_MOST_UNTRACKED = 50
DIFF_BYTES = 1_000_000


def package_versions() -> dict[str, str]:
    """The installed version of each package that a run's numbers may depend on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe_platform() -> dict[str, str]:
    """Python and the operating system."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "host": platform.node(),
    }


def describe_hardware() -> dict[str, Any]:
    """CPU, memory in GiB, and the GPUs torch sees, if torch has been imported by now."""
    return {
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "usable_threads": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": describe_gpus(),
    }


def describe_computing(trainer: pl.Trainer) -> dict[str, Any]:
    """How a training computes, as far as its numbers may depend on it; imports torch."""
    import torch

    return {
        "accelerator": trainer.strategy.root_device.type,
        "strategy": type(trainer.strategy).__name__,
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe_gpus() -> list[dict[str, Any]]:
    """Name and memory in GiB of the GPUs torch sees, if torch has been imported by now."""
    torch = sys.modules.get("torch")  # never worth an import of its own
    if torch is None or not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = round(properties.total_memory / 2**30, 1)
        found.append({"name": properties.name, "memory_gib": memory})
    return found


def describe_code(folder: Path) -> tuple[dict[str, Any], str] | None:
    """The commit, and the changes since it, of the git checkout that holds `folder`.

    Args:
        folder: Any folder; what counts is the checkout around it.

    Returns:
        The facts (commit, branch, dirty, names of files git does not track) and the diff against
        the commit, cut at `DIFF_BYTES`. None where there is no checkout, no commit, no git, or an
        answer took too long.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    status = _git(folder, "status", "--porcelain=v1", "--untracked-files=normal")
    diff = _git(folder, "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff")
    if status is None or diff is None:
        return None
    lines = status.splitlines()
    facts = {
        "commit": commit.strip(),
        "branch": (_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "dirty": bool(lines),
        "untracked": [line[3:] for line in lines if line.startswith("??")][:_MOST_UNTRACKED],
    }
    encoded = diff.encode("utf-8")
    if len(encoded) > DIFF_BYTES:
        cut = encoded[:DIFF_BYTES].decode("utf-8", errors="ignore")
        diff = f"{cut}\n[cut here: {len(encoded):,} bytes in all]\n"
        facts["diff_cut"] = True
    return facts, diff


def checkouts() -> dict[str, Path]:
    """The git checkouts that the running code comes from.

    "heed" is Heed's own, when it runs from a checkout and not from site-packages; "project" is the
    one around the working directory, when that is another.
    """
    found: dict[str, Path] = {}
    package = Path(__file__).resolve().parent
    if _git(package, "ls-files", "--error-unmatch", Path(__file__).name) is not None:
        top = _git(package, "rev-parse", "--show-toplevel")
        if top:
            found["heed"] = Path(top.strip())
    top = _git(Path.cwd(), "rev-parse", "--show-toplevel")
    if top and Path(top.strip()) not in found.values():
        found["project"] = Path(top.strip())
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None when it fails, is missing, or takes too long."""
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(folder), *arguments],
            capture_output=True,
            timeout=_GIT_SECONDS,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None
