"""What came of a scenario, and how it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

#: What is counted in the headline, and how it is called there.
BLOWS = ("worker kills", "Redis kills", "restarts", "faults")


@dataclass
class Tally:
    """The counts of one scenario. Lists name the files concerned, so that a failure says where to look."""

    name: str
    done: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)  # files left that are neither wanted nor a second copy
    broken: list[str] = field(default_factory=list)  # other promises, in words
    blows: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""  # why it could not be run

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicated or self.corrupt or self.parts or self.broken)

    def check(self, holds: bool, promise: str) -> None:
        """Note a promise that does not hold."""
        if not holds:
            self.broken.append(promise)

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped: {self.skipped}"
        counts = (
            f"{self.done} done, {len(self.lost)} lost, {len(self.duplicated)} duplicated, "
            f"{len(self.corrupt)} corrupt, {len(self.parts)} .partial left"
        )
        struck = [f"{number} {what}" for what, number in self.blows.items()]
        line = "; ".join([f"{self.name}: {counts}", *struck, *self.notes])
        wrong = {"lost": self.lost, "duplicated": self.duplicated, "corrupt": self.corrupt}
        wrong |= {"left": self.parts, "broken": self.broken}
        return "\n".join([line, *(f"  {what}: {each}" for what, found in wrong.items() for each in found)])


def headline(tallies: Sequence[Tally]) -> str:
    """All of them in one line."""
    blows = sum((tally.blows for tally in tallies), Counter[str]())
    struck = ", ".join(f"{blows[each]} {each}" for each in BLOWS)
    lost, duplicated, corrupt = (
        sum(len(getattr(tally, name)) for tally in tallies) for name in ("lost", "duplicated", "corrupt")
    )
    return f"{struck}: {lost} lost, {duplicated} duplicated, {corrupt} corrupt"
