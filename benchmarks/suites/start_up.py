"""How long commands take to answer, and a training to come to its first step."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from typing import NamedTuple

from harness.results import Result, Row
from harness.settings import Settings

WALL, CPU = "s", "CPU s"
LIGHTNING, HELP, WARM, IMPORTS = (
    "import lightning.pytorch",
    "heed --help",
    "heed train, warm, to its first step",
    "its imports alone",
)

UNTIL_FIRST_STEP = """
import json, os, sys
from heed.tasks.base import Task
def stop(*_):
    modules = os.environ.get("HEED_BENCH_MODULES")
    if modules:
        names = [n for n, m in list(sys.modules.items()) if getattr(m, "__spec__", None)]
        open(modules, "w").write(json.dumps(names))
    os._exit(0)
Task.training_step = stop
from heed.cli import main
sys.exit(main(sys.argv[1:]) or 1)
"""
"""`heed train` as it is, ended where the first step would begin."""

IMPORT_THEM = """
import importlib, json, os, sys
for name in json.loads(open(sys.argv[1]).read()):
    try:
        importlib.import_module(name)
    except Exception:
        pass
os._exit(0)
"""


class Took(NamedTuple):
    """Seconds of a process, of the clock and of the processor."""

    wall: float
    cpu: float


def measure(asked: Settings) -> list[Result]:
    """Processes of each kind in turns; a training with a filled cache, and one without."""
    work = asked.work / "start-up"
    work.mkdir()
    words = [
        *("heed", "train", "logger=csv", "trainer.max_steps=2", f"paths.output_dir={work}"),
        *("trainer.limit_val_batches=0", "trainer.limit_test_batches=0", "trainer=cpu"),
    ]
    words += ["data.source.train_size=300"] if asked.quick else []
    modules = work / "modules.json"
    warm = [*words[1:], f"paths.cache_dir={work / 'warm'}"]
    until = [sys.executable, "-c", UNTIL_FIRST_STEP]
    took([*until, *warm], {"HEED_BENCH_MODULES": str(modules)})
    assert modules.exists(), "heed train did not come to its first step"
    rounds = 1 if asked.quick else asked.rounds
    found: dict[str, list[Took]] = {}
    for number in range(rounds):
        cold = [*until, *words[1:], f"paths.cache_dir={work / f'cold-{number}'}"]
        commands = {
            LIGHTNING: [sys.executable, "-c", "import lightning.pytorch, os; os._exit(0)"],
            HELP: [sys.executable, "-m", "heed", "--help"],
            "heed list": [sys.executable, "-m", "heed", "list"],
            "heed train, misspelt": [sys.executable, "-m", "heed", "train", "model=smal"],
            IMPORTS: [sys.executable, "-c", IMPORT_THEM, str(modules)],
            WARM: [*until, *warm],
            "heed train, cold, to its first step": cold,
        }
        for name, command in commands.items():
            found.setdefault(name, []).append(took(command))
    result = Result("start_up", "seconds from the start of a process", settings={"rounds": rounds})
    for name, times in found.items():
        result.rows.append(Row(name, WALL, [one.wall for one in times]))
        result.rows.append(Row(name, CPU, [one.cpu for one in times]))
    for what in (WALL, CPU):
        result.compare(HELP, LIGHTNING, what, better="lower", reach=1 / 12)
        result.compare(IMPORTS, LIGHTNING, what, better="lower")
        result.compare(WARM, IMPORTS, what, better="lower")
        own, imports = result.row(WARM, what), result.row(IMPORTS, what)
        assert own is not None
        assert imports is not None
        beyond = [a - b for a, b in zip(own.runs, imports.runs, strict=True)]
        result.rows.append(Row("heed train, warm, beyond its imports", what, beyond))
    return [result]


def took(command: list[str], more: dict[str, str] | None = None) -> Took:
    """Run a process to its end, silently."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(more or {})},
        check=False,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
