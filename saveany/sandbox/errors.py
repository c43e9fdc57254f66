"""The two ways in which the data centre says no."""


class RpcFailure(Exception):
    """An `rpc_error`: the request was understood and refused, e.g. (420, "FLOOD_WAIT_30")."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class ProtocolError(Exception):
    """The client broke the protocol below the level of requests; its connection is closed."""
