# SPDX-License-Identifier: Apache-2.0
"""Durable state: SQLite, atomic files, blobs, settings files."""
