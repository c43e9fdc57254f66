"""`python -m saveany.sandbox`: the sandbox as a program, for any client with a configurable address and
key."""

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from saveany.sandbox.faults import Fault
from saveany.sandbox.server import Sandbox


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        asyncio.run(serve(options))
    except OSError as error:
        parser.error(f"cannot listen: {error.strerror}; choose another --port, or 0 for any free one")


async def serve(options: argparse.Namespace) -> None:
    """Start, print the address, wait for a signal and stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Sandbox(state=options.state, port=options.port) as sandbox:
        await _open_more(sandbox, options)
        for fault in _faults(options):
            sandbox.faults.add(fault)
        facts = describe(sandbox)
        print(json.dumps(facts) if options.json else _prose(facts), flush=True)
        await stop.wait()


async def _open_more(sandbox: Sandbox, options: argparse.Namespace) -> None:
    """Start the CDN and further addresses of data centers."""
    if options.cdn:
        await sandbox.open_cdn(*options.cdn)
    for dc in options.dead_address:
        await sandbox.add_unresponsive_address(dc, media_only=True)
    for dc in options.media_address:
        await sandbox.listen(dc, media_only=True)


def describe(sandbox: Sandbox) -> dict[str, Any]:
    """Everything a client needs to connect, as printed by `--json`."""
    return {
        "telegram": {
            "address": sandbox.address,
            "public_key_file": str(sandbox.public_key_file),
            "dc_id": sandbox.dc_id,
            "bot_token": sandbox.bot_token,
            "user_session": sandbox.user_session,
            "person_session": sandbox.person_session,
            "phone": sandbox.phone,
            "login_code": sandbox.login_code,
        },
        "samples": [asdict(sample) for sample in sandbox.samples],
    }


#: How to act as a person in a chat with the bot.
_ACTING = """\
To act as a person, give the person's session to any Telethon program (the user's is for the application):

    from telethon import TelegramClient
    from telethon.crypto import rsa
    from telethon.sessions import StringSession

    rsa.add_key(open("<public_key_file>").read(), old=False)
    person = TelegramClient(StringSession("<person_session>"), 1, "hash")
    async with person:
        await person.send_message("sandbox_bot", "/start")"""


def _prose(facts: dict[str, Any]) -> str:
    lines = [f"{name:16}{value}" for name, value in facts["telegram"].items()]
    links = [f"{sample['link']:45}{sample['note']}" for sample in facts["samples"]]
    return "\n".join([*lines, "", *links, "", _ACTING])


def _faults(options: argparse.Namespace) -> list[Fault]:
    delay = [Fault(kind="delay", value=str(options.delay / 1000))] if options.delay else []
    rate = [Fault(kind="rate", value=str(options.rate))] if options.rate else []
    return [*delay, *rate, *options.fault]


def _fault(text: str) -> Fault:
    try:
        return Fault.parse(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from wrong


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m saveany.sandbox", description=main.__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, metavar="N", help="port of the main data center; default: a free one")
    add("--state", type=Path, metavar="DIR", help="keep keys, logins and ports in this folder")
    add("--json", action="store_true", help="print address, key, logins and samples as one line of JSON")
    add("--delay", type=float, default=0, metavar="MS", help="delay of every reply in milliseconds")
    add("--rate", type=int, default=0, metavar="BYTES/S", help="speed of each connection")
    number: dict[str, Any] = {"type": int, "action": "append", "default": []}
    add("--cdn", metavar="FILE", help="serve this file from a CDN", **number)
    add("--media-address", metavar="DC", help="give a data center another address, for files", **number)
    add(
        "--dead-address", metavar="DC", help="announce another address for files that never replies", **number
    )
    add(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="SPEC",
        help="see saveany/sandbox/faults.py",
    )
    return parser


if __name__ == "__main__":
    main()
