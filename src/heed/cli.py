"""The command `heed`: picks the verb, and turns what a verb raises into words and an exit code.

Nothing heavy is imported here, so that help, listings and mistakes are answered at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import select
import sys
import traceback
from collections.abc import Sequence

from heed import __version__
from heed.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USER,
    RunFailed,
    UserError,
    UserErrors,
    nearest,
)

EXIT_BROKEN_PIPE = 141  # what a shell reports of a program whose reader has gone

# verb: the module under heed.commands that holds its `main(argv) -> int`, and one line of help
VERBS: dict[str, tuple[str, str]] = {
    "train": ("train", "train a model, test its best checkpoint, keep everything in a run folder"),
    "evaluate": ("evaluate", "score a run's checkpoint on a split of its data, or of other data"),
    "predict": ("predict", "read texts, write what a run's model makes of them"),
    "export": ("export", "write a run's model for other programs: ONNX, CTranslate2, transformers"),
    "reproduce": ("reproduce", "run a run again from its record: are the numbers the same?"),
    "diff": ("diff", "what differs between two runs, down to single predictions"),
    "replay": ("replay", "make a faulty step of a run again: which module, which rows"),
    "verify-resume": ("verify_resume", "kill a short training, resume it, and compare every bit"),
    "runs": ("runs", "list and filter runs, find the best, prune old checkpoints"),
    "compare": ("compare", "compare systems over seeds, with tests of significance and plots"),
    "check": ("check", "check a config and say what it would cost, before any data are read"),
    "report": ("report", "what came of a search (train -m sweep=optuna), as a page with figures"),
    "list": ("list", "show what can be chosen: tasks, models, data sets, experiments, ..."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `heed` command.

    Args:
        argv: The words after `heed`; those of this process when None.

    Returns:
        The exit code: 0 done, 1 failed, 2 the user's input, 130 interrupted. A verb that was
        stopped and has saved its work raises `SystemExit(143)`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    traceback_wanted = "--traceback" in words or os.environ.get("HEED_TRACEBACK") == "1"
    words = [word for word in words if word != "--traceback"]
    try:
        code = dispatch(words)
        sys.stdout.flush()
        return code
    except UserError as error:
        if traceback_wanted:
            traceback.print_exc()
        report(error)
        return EXIT_USER
    except RunFailed as failure:
        if traceback_wanted:
            traceback.print_exc()
        print_error(str(failure))
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and reader_has_gone():
            return EXIT_BROKEN_PIPE
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and not traceback_wanted:
            place = f" while writing {error.filename}" if error.filename else ""
            print_error(f"there is no space left on the disk{place}; free some, or write elsewhere")
            return EXIT_FAILED
        if out_of_memory(error) and not traceback_wanted:
            print_error(f"out of memory: {error}; lower what is read at once, or free some memory")
            return EXIT_FAILED
        traceback.print_exc()
        print_error(f"heed failed with {type(error).__name__}; the traceback above says where")
        return EXIT_FAILED


def dispatch(words: list[str]) -> int:
    """Call the verb that the first word names.

    Raises:
        UserError: If there is no such verb.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1 and words[1] in VERBS:
            return dispatch([words[1], "--help"])
        print(help_text())
        return EXIT_DONE
    if words[0] in ("-V", "--version"):
        print(f"heed {__version__}")
        return EXIT_DONE
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        raise UserError(f"heed has no command {verb!r}", nearest(verb, VERBS))
    module = importlib.import_module(f"heed.commands.{VERBS[verb][0]}")
    code = module.main(rest)
    assert isinstance(code, int), f"heed {verb} must return an exit code, but returned {code!r}"
    return code


def help_text() -> str:
    """What `heed --help` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {line}" for verb, (_, line) in VERBS.items())
    return f"""\
heed {__version__}: train, test and use Transformers for NLP, composed from configs

usage: heed COMMAND [key=value ...]

commands:
{verbs}

examples:
  heed train                                        learns to translate, offline, in minutes
  heed train task=sentiment data=sst2 model=small   another task, data set and size
  heed train -m optimizer.lr=1e-3,3e-4 seed=1,2     one run for every combination
  heed check model=base trainer.max_steps=100000    what that would cost
  heed list data                                    the data sets

heed COMMAND --help says more. HEED_TRACEBACK=1 or --traceback shows where an error was raised."""


def report(error: UserError) -> None:
    """Print each mistake on its own line of stderr."""
    for single in error.errors if isinstance(error, UserErrors) else [error]:
        print_error(str(single))


def print_error(message: str) -> None:
    """Print `error: message` to stderr, in colour where a person reads it."""
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    label = "\x1b[1;31merror:\x1b[0m" if colour else "error:"
    print(f"{label} {message}", file=sys.stderr)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out where no verb had words for it."""
    from heed.memory import is_out_of_memory

    return is_out_of_memory(error)


def reader_has_gone() -> bool:
    """Whether nobody reads our output any more (`heed list | head`); if so, it is let go."""
    try:
        output = sys.stdout.fileno()
        poll = select.poll()
    except (OSError, AttributeError):  # no file, or no poll on this system
        return False
    poll.register(output, select.POLLERR)
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        # What is still buffered would raise once more when Python closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone
