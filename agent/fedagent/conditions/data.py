# SPDX-License-Identifier: Apache-2.0
"""FA6: datasets, their sources, mappings and snapshots."""
