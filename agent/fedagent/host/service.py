# SPDX-License-Identifier: Apache-2.0
"""Tells systemd how the service is (sd_notify(3)); does nothing where systemd did not start it."""

import contextlib
import os
import socket
import time


class ServiceStatus:
    """The notification socket, if there is one."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")

    def ready(self) -> None:
        """The local state is loaded; the network is not waited for."""
        self._notify("READY=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; also feeds the watchdog."""
        line = " ".join(text.split())  # a second line would be another message
        self._notify(f"STATUS={line}\nWATCHDOG=1")

    def reloading(self) -> None:
        """The settings are being read anew; ``ready`` ends it."""
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service is ending by itself or was asked to."""
        self._notify("STOPPING=1")

    def _notify(self, text: str) -> None:
        if not self._address:
            return
        address = self._address.replace("@", "\0", 1) if self._address.startswith("@") else self._address
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        # Where systemd does not take it, it misses its watchdog, and does what the unit says.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as notifier:
            notifier.sendto(text.encode(), address)
