"""Run the code blocks of a Markdown file: what the documentation shows must work when pasted.

    python .ci/run_blocks.py FILE [--bash] [--python]

Blocks fenced as `bash` run one after the other in one shell, blocks fenced as `python` in one
interpreter; both stop at the first error. Blocks fenced as `console` or `text` are not run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> int:
    """Run the wanted blocks; returns the exit status of the first failing one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--bash", action="store_true")
    parser.add_argument("--python", action="store_true")
    arguments = parser.parse_args()
    found = BLOCK.findall(arguments.file.read_text("utf-8"))
    for language, command in (
        ("bash", ["bash", "-euxo", "pipefail", "-c"]),
        ("python", [sys.executable, "-W", "error", "-c"]),
    ):
        if not getattr(arguments, language):
            continue
        code = "\n".join(text for kind, text in found if kind == language)
        if not code:
            print(f"{arguments.file} has no {language} block", file=sys.stderr)
            return 1
        status = subprocess.run([*command, code], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
