"""All benchmarks behind one command: Heed beside its peers, tables, figures and plots.

    python benchmarks/run.py [SUITE ...] [--device cuda] [--data MULTI30K] [--to docs/results]
    python benchmarks/run.py --list

Without names, all suites of the device run, on a CPU in at most 20 minutes. Arms take turns, a
figure is a median of at least three, ratios are medians over rounds. Each suite prints a table and
writes `SUITE-MACHINE.json` and `.png`; `guard.py` compares the ratios with the last recorded ones.
Without `--data` the text is generated. What is not installed is left out, and it is said so. A
suite that fails is told of, the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from harness.results import Result  # noqa: E402
from harness.settings import Settings  # noqa: E402

Suite = Callable[[Settings], list[Result]]


def suite(module: str, **given: str) -> Suite:
    """`measure` of a suite, which is imported when it runs."""

    def measure(asked: Settings) -> list[Result]:
        found: list[Result] = importlib.import_module(f"suites.{module}").measure(asked, **given)
        return found

    return measure


SUITES: dict[str, Suite] = {
    "training_small": suite("training", size="small"),
    "training_base": suite("training", size="base"),
    "training_big": suite("training", size="big"),
    "step_overhead": suite("step_overhead"),
    "start_up": suite("start_up"),
    "data": suite("scripts", script="data"),
    "decoding": suite("scripts", script="decoding"),
    "fine_tuning": suite("fine_tuning"),
    "length": suite("length"),
    "model_size": suite("model_size"),
    "data_size": suite("scripts", script="data_size"),
}
ON_GPU = (
    *("training_small", "training_base", "training_big", "step_overhead"),
    *("fine_tuning", "length", "model_size"),
)


def main() -> int:
    """Run what is asked for; 1 if something failed."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each arm")
    parser.add_argument("--threads", type=int, help="of torch, on a CPU; all cores without it")
    parser.add_argument("--data", type=Path, help="a folder with multi30k")
    parser.add_argument("--checkpoint", type=Path, help="a folder with a BERT to fine-tune")
    parser.add_argument("--joeynmt", type=Path, help="a Python that has joeynmt")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all runs")
    parser.add_argument("--to", type=Path, default=Path("docs/results"))
    parser.add_argument("--list", action="store_true", help="name the suites")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(ON_GPU if asked.device == "cuda" else SUITES))
        return 0
    names = asked.suites or list(ON_GPU if asked.device == "cuda" else SUITES)
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        parser.error(f"there is no suite {unknown[0]}; there are {', '.join(SUITES)}")
    if asked.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    quiet(asked.threads)
    work = Path(tempfile.mkdtemp(prefix="heed-bench-"))
    peers = {"joeynmt": asked.joeynmt.absolute()} if asked.joeynmt else {}
    settings = Settings(
        work=work,
        device=asked.device,
        rounds=asked.rounds,
        quick=asked.quick,
        data=asked.data,
        checkpoint=asked.checkpoint,
        peers=peers,
        to=asked.to,
    )
    try:
        failed = [name for name in names if not run(name, settings)]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


def run(name: str, settings: Settings) -> bool:
    """Measure one suite, print and keep what it found; whether all went well."""
    start = time.perf_counter()
    try:
        for result in SUITES[name](settings):
            print(result.table())
            print(
                f"  {result.write(settings.to)} ({time.perf_counter() - start:.0f} s)", flush=True
            )
    except Exception:
        traceback.print_exc()
        return False
    return True


def quiet(threads: int | None) -> None:
    """Let libraries keep to themselves, and torch have its threads."""
    further = os.environ.get("PYTHONPATH")  # of processes that suites start
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[1], *([further] if further else [])])
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # loops run in threads of their own
    from heed.commands.quiet import quiet_libraries

    quiet_libraries()
    warnings.filterwarnings("ignore")


if __name__ == "__main__":
    sys.exit(main())
