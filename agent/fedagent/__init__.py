# SPDX-License-Identifier: Apache-2.0
"""fedagent: federated learning as an ordinary Linux service."""

from typing import Final

VERSION: Final = "0.1.0"
