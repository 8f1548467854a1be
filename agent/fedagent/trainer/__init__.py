# SPDX-License-Identifier: Apache-2.0
"""The trainer's own processes, with no sockets: started as programs, never imported by the daemon."""
