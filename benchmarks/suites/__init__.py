"""One file a suite, each with `measure(asked) -> list[Result]`; `run.py` names and runs them."""
