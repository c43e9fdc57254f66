"""Sends one notification that its standard input describes. Errors are written to stderr."""

from __future__ import annotations

import json
import logging
import sys

from saveany.texts import Text


def main() -> int:
    """Send it; returns the exit code."""
    from saveany.languages import translator

    request = json.load(sys.stdin)
    try:
        import apprise
    except ImportError:
        print("Apprise is not installed: pip install 'saveany[notify]'", file=sys.stderr)
        return 1
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    translate = translator(request["language"]).text
    title, body = (translate(Text(*each)) for each in request["texts"])
    sender = apprise.Apprise()
    if not sender.add(request["url"]):
        print("this is not a URL that Apprise knows", file=sys.stderr)
        return 1
    return 0 if sender.notify(title=title, body=body) else 1


if __name__ == "__main__":
    sys.exit(main())
