# SPDX-License-Identifier: Apache-2.0
"""What the machine is doing, one file for each source of facts."""
