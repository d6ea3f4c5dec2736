"""What an account may use: neurons a day, requests a minute of a task. Pure.

Days and minutes are whole ones of UTC, so an account that is over its limit knows when it may go on. Times are seconds
since 1970.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lowcloud.core.errors import DailyLimitReached, LimitReached
from lowcloud.models.card import Task

MINUTE_S = 60
DAY_S = 86_400
ANY_TASK = "*"


@dataclass(frozen=True, slots=True)
class Allowance:
    """None, and a task that isn't there: no limit."""

    neurons_per_day: float | None = None
    requests_per_minute: Mapping[Task, int] = field(default_factory=dict)


def rates(named: Mapping[str, int]) -> dict[Task, int]:
    """Requests a minute by task, of those by a task's key or by ``*``, every other task.

    Raises ValueError, which begins with the name, for one that is no task's.
    """
    keys = {task_key(task): task for task in Task}
    for name in named:
        if name != ANY_TASK and name not in keys:
            raise ValueError(f"{name}: no such task; there are {', '.join(sorted(keys))}")
    found = {task: named.get(key, named.get(ANY_TASK)) for key, task in keys.items()}
    return {task: limit for task, limit in found.items() if limit is not None}


def task_key(task: Task) -> str:
    """A task's name in settings, such as ``text-generation``."""
    return task.value.lower().replace(" ", "-")


def check_day(used: float, limit: float, now: float) -> None:
    """Raises DailyLimitReached for an account that has ``used`` so many neurons today."""
    if used >= limit:
        raise DailyLimitReached(
            f"You have used up your daily free allocation of {limit:,.15g} neurons. It begins anew at 00:00 UTC.",
            retry_after_s=DAY_S - now % DAY_S,
        )


def check_minute(task: Task, requests: int, limit: int, now: float) -> None:
    """Raises LimitReached for an account that has made so many ``requests`` of a task in this minute."""
    if requests >= limit:
        raise LimitReached(
            f"You have reached the limit of {limit:,} requests a minute for {task.value}.",
            retry_after_s=MINUTE_S - now % MINUTE_S,
        )
