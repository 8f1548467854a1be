# SPDX-License-Identifier: Apache-2.0
"""The site daemon's shell: it builds the parts and performs the commands that the core decides."""
