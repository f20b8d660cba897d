"""Run a command as a user without root, with no network but the machine's own loopback.

    python isolated_command.py COMMAND...

Begun under `unshare --net` by root, it becomes `nobody`; under `unshare --map-root-user --net` by anybody else, it is
the user that it was, whatever it believes.
"""

import fcntl
import os
import socket
import struct
import sys

SET_FLAGS, UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP
NOBODY = 65534


def loopback_up() -> None:
    """A new network has a loopback that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14x", b"lo", UP))


if __name__ == "__main__":
    loopback_up()
    if os.environ.pop("ICM_BECOME_NOBODY", ""):
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    os.execvp(sys.argv[1], sys.argv[1:])
