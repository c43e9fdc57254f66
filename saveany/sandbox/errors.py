"""The errors of the sandbox: refused requests and violations of the protocol."""


class RpcFailure(Exception):
    """The request is refused with an `rpc_error`, e.g. (420, "FLOOD_WAIT_30")."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class ProtocolError(Exception):
    """The client violated the protocol below the level of requests; its connection is closed."""
