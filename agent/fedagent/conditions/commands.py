# SPDX-License-Identifier: Apache-2.0
"""FA9: command lines, and the demonstration."""
