"""The data of a run that was begun earlier: the same as then, or those that the cache has kept.

A run's record has a fingerprint of each split. The records that it stands for lie in the cache, so
that a run whose files have gone can go on, and one whose files have changed is not quietly trained
on others: its place in the data, and whatever it has learned, belong to the rows it began with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from heed.errors import UserError

if TYPE_CHECKING:
    from heed.data.corpus import Corpus
    from heed.data.files import Split

Use = Literal["same", "kept", "told"]
Make = Callable[..., "Corpus"]


def fingerprints(recorded: Mapping[str, Any]) -> dict[Split, str]:
    """The fingerprint of each split that a run's record has."""
    from heed.data.files import SPLITS

    facts = {split: recorded.get(split) for split in SPLITS}
    return {
        split: str(fact["fingerprint"])
        for split, fact in facts.items()
        if isinstance(fact, dict) and fact.get("fingerprint")
    }


def is_kept(recorded: Mapping[str, Any], cache_dir: str) -> bool:
    """Whether the records of every split of a run are in the cache."""
    from heed.data.corpus import kept_records
    from heed.data.files import SPLITS

    known = fingerprints(recorded)
    return len(known) == len(SPLITS) and all(kept_records(cache_dir, one) for one in known.values())


def corpus_of_run(
    source: Callable[[], Any],
    make: Make,
    recorded: Mapping[str, Any],
    *,
    use: Use,
    cache_dir: str,
    from_cache: bool,
) -> Corpus | None:
    """The corpus that a run began with.

    Args:
        source: Builds the source that the run's config names.
        make: Makes a corpus of a source, as the run did at its beginning.
        recorded: What the run's record says of its data.
        use: "same" refuses data that have changed, for a run that goes on; "kept" does not look at
            the source at all where the cache has everything, for further processes; "told" says
            that they have changed and takes them, to evaluate.
        cache_dir: The cache, `data.cache_dir`.
        from_cache: Whether to take what the cache has kept whatever has become of the data.

    Returns:
        The corpus; None if the record does not tell, or the data are others and may be.

    Raises:
        UserError: If the data have changed, or are gone and the cache has not kept them.
    """
    from heed.data.kept import KeptSource

    known = fingerprints(recorded)
    if not known:
        return None
    whole = is_kept(recorded, cache_dir)
    kept = make(source=KeptSource(), fingerprints=known) if whole else None
    if from_cache and kept is None:
        raise UserError(
            "data.from_cache=true needs the records that the run began with, but the cache "
            f"({cache_dir}) has not all of them",
            "leave it out, or give their cache: paths.cache_dir=FOLDER",
        )
    if kept is not None and (use == "kept" or from_cache):
        return kept
    try:
        corpus = make(source=source())
        changed = [split for split in known if corpus.fingerprint(split) != known[split]]
    except UserError as error:
        if kept is None:
            raise
        print(f"The data cannot be had ({error.problem}); their cached records are used.")
        return kept
    if not changed:
        return corpus
    problem = _changed(corpus, changed)
    if use == "told":
        print(f"note: {problem}", file=sys.stderr)
        return None
    raise UserError(
        problem,
        "put the old files back, or start a new run"
        + ("; data.from_cache=true goes on with what it began with" if kept else ""),
    )


def _changed(corpus: Corpus, splits: list[Split]) -> str:
    places = [f"{split} ({corpus.describe(split)})" for split in splits]
    return f"the data have changed since this run began: {', '.join(places)}"
