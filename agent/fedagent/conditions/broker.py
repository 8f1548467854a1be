# SPDX-License-Identifier: Apache-2.0
"""FA4: the broker, the line to it, and the control socket."""
