# SPDX-License-Identifier: Apache-2.0
"""FA8: the aggregator: studies, rounds, models and the authority."""
