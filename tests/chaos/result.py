"""The result of a scenario, and its text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Injected failures that the total line lists.
_INJECTED = ("worker kills", "Redis kills", "restarts", "faults")


@dataclass
class ScenarioResult:
    """The result of one scenario. Its lists name the files concerned."""

    name: str
    done: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)  # unfinished files that remain
    violations: list[str] = field(default_factory=list)  # other violated guarantees, in words
    injected: Counter[str] = field(default_factory=Counter)  # kind of failure -> how often it was injected
    notes: list[str] = field(default_factory=list)
    skipped: str = ""  # why it was not run

    @property
    def passed(self) -> bool:
        return not (self.lost or self.duplicated or self.corrupt or self.leftovers or self.violations)

    def check(self, holds: bool, violation: str) -> None:
        """Record `violation` unless the guarantee holds."""
        if not holds:
            self.violations.append(violation)

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped: {self.skipped}"
        counts = (
            f"{self.done} done, {len(self.lost)} lost, {len(self.duplicated)} duplicated, "
            f"{len(self.corrupt)} corrupt, {len(self.leftovers)} .partial left"
        )
        injected = [f"{number} {kind}" for kind, number in self.injected.items()]
        line = "; ".join([f"{self.name}: {counts}", *injected, *self.notes])
        failures = {"lost": self.lost, "duplicated": self.duplicated, "corrupt": self.corrupt}
        failures |= {"left": self.leftovers, "violated": self.violations}
        return "\n".join([line, *(f"  {kind}: {each}" for kind, found in failures.items() for each in found)])


def total_line(results: Sequence[ScenarioResult]) -> str:
    """The totals of all scenarios in one line."""
    injected = sum((result.injected for result in results), Counter[str]())
    failures = ", ".join(f"{injected[each]} {each}" for each in _INJECTED)
    lost, duplicated, corrupt = (
        sum(len(getattr(result, name)) for result in results) for name in ("lost", "duplicated", "corrupt")
    )
    return f"{failures}: {lost} lost, {duplicated} duplicated, {corrupt} corrupt"
