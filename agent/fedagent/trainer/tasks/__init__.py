# SPDX-License-Identifier: Apache-2.0
"""The training code that is installed with fedagent; a study names one by its name and version."""
