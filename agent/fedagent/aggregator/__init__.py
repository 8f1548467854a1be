# SPDX-License-Identifier: Apache-2.0
"""The aggregator: studies, rounds, folding and the certificate authority, behind one event loop."""
