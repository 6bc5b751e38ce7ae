"""Rules on how long, how precisely and over how many processes a run is trained; see `rules`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from heed.commands.bind import OURS, closest, shown
from heed.commands.build import TARGET
from heed.errors import UserError, nearest

Config = dict[str, Any]

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
PROFILERS = ("steps", "simple", "advanced", "pytorch")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
STRATEGIES = ("auto", "ddp")  # by name; the others have settings, and are chosen by trainer=


def training_ends(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """A schedule that decays to an end is told where that is, and times can be read."""
    trainer = frozen["trainer"]
    schedule = str(frozen["scheduler"].get(TARGET, "")).rpartition(".")[2]
    endless = trainer.get("max_steps") in (-1, None) and trainer.get("max_epochs") in (-1, None)
    if schedule in ("linear", "cosine") and endless:
        yield UserError(
            f"trainer.max_steps or trainer.max_epochs must be given with scheduler={schedule}, "
            "which ends, but neither is",
            "try trainer.max_epochs=10, or scheduler=inverse_square_root",
        )
    limit = trainer.get("max_time")
    if isinstance(limit, str) and not re.fullmatch(r"\d+:[0-2]?\d:[0-5]?\d:[0-5]?\d", limit):
        yield UserError(
            f"trainer.max_time must be DAYS:HOURS:MINUTES:SECONDS, but is {limit!r}",
            "half an hour is trainer.max_time=00:00:30:00",
        )


def precision_is_one(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """`trainer.precision` is "auto" or one of Lightning's."""
    precision = frozen["trainer"].get("precision")
    if frozen["trainer"].get(TARGET, "").startswith(OURS) and precision not in PRECISIONS:
        yield UserError(
            f"trainer.precision must be one of {', '.join(PRECISIONS)}, but is {shown(precision)}",
            closest(str(precision), PRECISIONS),
        )


def profiler_is_one(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """`trainer.profiler` is Heed's, one of Lightning's, or none."""
    profiler = frozen["trainer"].get("profiler")
    ours = frozen["trainer"].get(TARGET, "").startswith(OURS)
    if ours and profiler is not None and profiler not in PROFILERS:
        yield UserError(
            f"trainer.profiler must be one of {', '.join(PROFILERS)} or null, "
            f"but is {shown(profiler)}",
            closest(str(profiler), PROFILERS),
        )


def devices_are_some(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """`trainer.accelerator` is a kind of device, and `trainer.devices` says how many, or which."""
    trainer = frozen["trainer"]
    if not trainer.get(TARGET, "").startswith(OURS):
        return
    accelerator, devices = trainer.get("accelerator"), trainer.get("devices")
    if accelerator not in ACCELERATORS:
        yield UserError(
            f"trainer.accelerator must be one of {', '.join(ACCELERATORS)}, "
            f"but is {shown(accelerator)}",
            closest(str(accelerator), ACCELERATORS),
        )
    if not _says_which_devices(devices) or (accelerator == "cpu" and isinstance(devices, list)):
        yield UserError(
            "trainer.devices must be a whole number of at least 1, auto, or a list of GPUs such as "
            f"[0,1], each once, but is {shown(devices)}",
            "try trainer.devices=2",
        )
    elif trainer.get("strategy") == "auto" and _several(devices):
        yield UserError(
            f"trainer.devices must be 1 without a strategy, but is {shown(devices)}",
            "choose one: trainer=ddp, or trainer=fsdp2 for models that are too large for that",
        )


def _says_which_devices(devices: Any) -> bool:
    if isinstance(devices, list):
        numbers = all(type(number) is int and number >= 0 for number in devices)
        return numbers and 0 < len(devices) == len({*map(str, devices)})
    return devices in ("auto", -1) or (type(devices) is int and devices >= 1)


def _several(devices: Any) -> bool:
    return len(devices) > 1 if isinstance(devices, list) else devices != 1


def strategy_is_one(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """`trainer.strategy` can be had, and goes with the callbacks."""
    trainer = frozen["trainer"]
    strategy = trainer.get("strategy")
    if not trainer.get(TARGET, "").startswith(OURS):
        return
    if isinstance(strategy, str) and strategy not in STRATEGIES:
        configs = sorted(path.stem for folder in folders for path in folder.glob("trainer/*.yaml"))
        known = {name for name in configs if not name.startswith("_")}
        chosen = f"write trainer={strategy}" if strategy in known else nearest(strategy, known)
        yield UserError(
            f"trainer.strategy must be auto or ddp, but is {strategy!r}; "
            f"others are chosen by trainer=NAME",
            chosen,
        )
    target = str(strategy.get(TARGET, "")) if isinstance(strategy, dict) else ""
    if target.endswith(".deepspeed") and target.startswith(OURS) and find_spec("deepspeed") is None:
        yield UserError(
            "trainer=deepspeed needs the package deepspeed, which is not installed",
            "pip install 'heed-nlp[deepspeed]', or use trainer=fsdp2, which needs nothing more",
        )
    precision = trainer.get("precision")
    if target.endswith(".deepspeed") and target.startswith(OURS) and precision != "32-true":
        yield UserError(
            f"trainer.precision must be 32-true with trainer=deepspeed, but is {shown(precision)}",
            "trainer=fsdp2 has bf16-mixed",
        )
    optimizer = str(frozen["optimizer"].get(TARGET, ""))
    if target.endswith(".fsdp2") and optimizer == "heed.training.optimizers.adafactor":
        yield UserError(
            "optimizer must keep its state in the shape of the parameters with trainer=fsdp2, "
            "but is adafactor",
            "use optimizer=adamw, or trainer=ddp",
        )
    decay = ((frozen.get("callbacks") or {}).get("ema") or {}).get("decay")
    if target.endswith(".fsdp2") and target.startswith(OURS) and decay is not None:
        yield UserError(
            f"callbacks.ema.decay must be null with trainer=fsdp2, but is {shown(decay)}: "
            "averages are kept whole",
            "leave averaging out, or use trainer=ddp",
        )


def compiling_is_possible(frozen: Config, folders: list[Path]) -> Iterator[UserError]:
    """`trainer.compile` is a choice, and the strategy can do it."""
    trainer = frozen["trainer"]
    compiled, strategy = trainer.get("compile", False), trainer.get("strategy")
    if compiled != "auto" and not isinstance(compiled, bool):
        yield UserError(f"trainer.compile must be auto, true or false, but is {shown(compiled)}")
    target = str(strategy.get(TARGET, "")) if isinstance(strategy, dict) else ""
    name = target.rpartition(".")[2]
    if compiled is True and target.startswith(OURS) and name in ("fsdp2", "deepspeed"):
        yield UserError(
            f"trainer.compile must be auto or false with trainer={name}, but is true",
            "leave trainer.compile out, or use trainer=ddp",
        )


TRAINER_RULES = (
    training_ends,
    precision_is_one,
    profiler_is_one,
    devices_are_some,
    strategy_is_one,
    compiling_is_possible,
)
