"""axe looks for what keeps people with disabilities from using a page (DA6)."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.browser import Page

_AXE = Path(__file__).parents[2] / "fixtures/axe/axe.min.js"
_RUN = """
rules => axe.run({resultTypes: ["violations"], ...(rules.length ? {runOnly: rules} : {})})
  .then(found => found.violations
  .filter(each => ["serious", "critical"].includes(each.impact))
  .map(each => `${each.id}: ${each.nodes.map(node => node.html + " " + node.failureSummary).join(" | ")}`))
"""


async def violations(page: Page, *rules: str) -> list[str]:
    """What is serious or critical on a page; with `rules`, by these only."""
    if not await page.run("'axe' in window"):
        await page.run(_AXE.read_text() + ";0")
    found: list[str] = await page.run(_RUN, list(rules))
    return found
