# SPDX-License-Identifier: Apache-2.0
"""FA5: the trainer: supervisor, worker, gate and tasks."""
