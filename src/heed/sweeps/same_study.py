"""Whether a study is gone on with by the search that it was begun by."""

from __future__ import annotations

from typing import Any

from heed.errors import UserError


def check_same(before: dict[str, Any], now: dict[str, Any], name: str) -> None:
    """Refuse to go on with a study of something else.

    Raises:
        UserError: With what differs.
    """
    differences = []
    for key in sorted({*before["space"], *now["space"]}):
        was, will = before["space"].get(key), now["space"].get(key)
        if was != will:
            differences.append(f"{key} was {was or 'not varied'}, and is {will or 'not varied'}")
    if before["objectives"] != now["objectives"]:
        differences.append(
            f"the objective was {', '.join(before['objectives'])}, "
            f"and is {', '.join(now['objectives'])}"
        )
    if before["seeds"] != now["seeds"]:
        differences.append(f"sweep.seeds was {before['seeds']}, and is {now['seeds']}")
    varied = {*before["space"], *now["space"]}
    for key in sorted({*before["fixed"], *now["fixed"]} - varied):
        was, will = before["fixed"].get(key), now["fixed"].get(key)
        if was != will:
            differences.append(f"{key} was {was}, and is {will}")
    if differences:
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise UserError(
            f"the study {name} was begun with other values: {'; '.join(differences[:5])}{more}",
            "type the same values as then, or begin another study with sweep.study_name=NAME",
        )
