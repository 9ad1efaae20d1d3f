"""Write constraints.txt: every package of this environment at its version, below the comment that stands there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"


def main() -> None:
    """Keep the leading comment and write the rest anew; local parts of versions, such as torch's +cpu, are dropped."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines if line.startswith("#")]
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    pins = sorted((line.split("+")[0] for line in frozen if "==" in line), key=str.lower)
    CONSTRAINTS.write_text("\n".join([*comment, *pins]) + "\n", encoding="utf-8")
    print(f"{len(pins)} packages pinned in {CONSTRAINTS.name}")


if __name__ == "__main__":
    main()
