# SPDX-License-Identifier: Apache-2.0
"""Signatures, certificates, sealing. Pure."""
