# SPDX-License-Identifier: Apache-2.0
"""How a trainer comes up, and how the daemon holds it."""
