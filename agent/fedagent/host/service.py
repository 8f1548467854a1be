# SPDX-License-Identifier: Apache-2.0
"""Tells systemd how the service is (sd_notify(3)); does nothing where systemd did not start it."""

import os
from pathlib import Path

from sdnotify import SystemdNotifier


class ServiceStatus:
    """The notification socket, if there is one."""

    def __init__(self) -> None:
        self._notifier = SystemdNotifier()
        self.watchdog_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6

    def ready(self) -> None:
        """The local state is loaded; the network is not waited for."""
        self._notifier.notify("READY=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; also feeds the watchdog."""
        self._notifier.notify(f"STATUS={text}\nWATCHDOG=1")

    def stopping(self) -> None:
        """The service is ending by itself or was asked to."""
        self._notifier.notify("STOPPING=1")


def under_systemd() -> bool:
    """Whether PID 1 is systemd (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()
