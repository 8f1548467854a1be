# SPDX-License-Identifier: Apache-2.0
"""How a trainer comes up: a systemd socket or a child process, with one frame channel above both."""
