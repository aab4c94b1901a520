"""How an edge process makes room for the one that takes its place, with another certificate, and cuts nobody off.

It is told by a signal that it leaves. From then on it accepts no connection: its listening socket is the group's, so
what comes waits there for the process that took its place. Handshakes under way are finished, and every answer ends
its connection, so that the clients come back to the other one. When it is stopped a moment later, nobody is left.
"""

import os
import signal
import socket
import stat

LEAVE = signal.SIGUSR1
CLOSE = ("connection", "close")
_HANDLES = "/dev/fd"


def stop_accepting() -> None:
    """Puts a socket that nobody knows of in the place of each that this process listens on. The server, which
    has no way to be told, goes on accepting there; the sockets themselves stay open in the process that made them."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        deaf.setblocking(False)
        own = deaf.fileno()
        for handle in (int(name) for name in os.listdir(_HANDLES)):
            if handle != own and _listens(handle):
                os.dup2(own, handle)


def close_inherited(handles: list[int]) -> None:
    """Lets go of sockets that this process was forked with and that are not its own. Their numbers stay taken, for
    whatever still knows them would close another file by them."""
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for handle in handles:
        os.dup2(nothing, handle, inheritable=False)
    os.close(nothing)


def _listens(handle: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            return False
    except OSError:
        return False  # it was that of the listing
    with socket.socket(fileno=os.dup(handle)) as found:
        return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
