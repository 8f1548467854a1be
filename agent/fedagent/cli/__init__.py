# SPDX-License-Identifier: Apache-2.0
"""The two commands, `fedagent` and `fedaggregator`: one file a command group, which parses, calls and prints."""
