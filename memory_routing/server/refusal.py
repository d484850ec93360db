"""What the service says no to, as opposed to what goes wrong in it."""

from __future__ import annotations

__all__ = ["NotHere", "Refused"]


class Refused(Exception):  # noqa: N818
    """A request that cannot be served as it stands; the message says what to change and is sent to the client."""


class NotHere(Refused):
    """A request for a model, sampler or session that this process does not hold."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not known here: the server was restarted, or its session has ended. "
            "Connect anew and go on from your last checkpoint, which is still served"
        )
