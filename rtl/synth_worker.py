"""The child process that runs yosys: its global state, chatter and crashes stay in here.

``python -m lutscape.rtl.synth_worker`` runs the commands in the file ``commands``, one a line, in the working
directory. A failing command ends the process with yosys' own message.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run the commands; return the exit code."""
    try:
        from pyosys import libyosys
    except ImportError as error:
        print(f"MISSING: {error}", file=sys.stderr)
        return 3
    design = libyosys.Design()
    for line in Path("commands").read_text().splitlines():
        libyosys.run_pass(line, design)
    return 0


if __name__ == "__main__":
    sys.exit(main())
