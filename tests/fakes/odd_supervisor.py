# SPDX-License-Identifier: Apache-2.0
"""The real supervisor as a program, with the odd worker below it: ``odd_supervisor.py BEHAVIOUR --config PATH``."""

import sys
from pathlib import Path

from fedagent.trainer.supervisor import run

sys.exit(
    run(sys.argv[2:], (sys.executable, "-P", str(Path(__file__).with_name("odd_worker.py")), sys.argv[1]))
)
