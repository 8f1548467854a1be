# SPDX-License-Identifier: Apache-2.0
"""A whole federation on one machine, to see it work and to test it."""
