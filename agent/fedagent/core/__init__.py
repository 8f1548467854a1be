# SPDX-License-Identifier: Apache-2.0
"""Every decision, without I/O, clock or logging."""
