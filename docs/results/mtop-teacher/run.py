"""The whole GPU job: a masked language model that writes texts, and parsers that label them.

Two processes share the GPU. Every part ends by the clock.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from words import LIBRARY, Words, build

HERE = Path(__file__).resolve().parent
# Of the deadline: the encoder is adapted, its training ends, writing of texts ends; parsers wait no
# longer, their training ends, labelling ends.
_ADAPT, _MASKED, _WRITE, _WAIT, _TRAIN, _LABEL = 0.18, 0.36, 0.72, 0.27, 0.74, 0.91


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE / "data", help="folder of prepare.py")
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT"), help="default: $OUT")
    parser.add_argument("--deadline", type=float, default=390, help="seconds")
    parser.add_argument("--texts", type=int, default=140_000, help="drafts of each language")
    parser.add_argument("--smoke", action="store_true", help="tiny settings, to try the code")
    options = parser.parse_args()
    if options.out is None:
        parser.error("--out is needed where $OUT is not set")
    began = time.time()
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        Words()
    except OSError as error:
        print(f"[run] building the tokenizer: {error}", flush=True)
        build(LIBRARY, HERE.parent / "csrc")
    work = Path(tempfile.mkdtemp(prefix="teach-"))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "true"}
    common = ["--data", str(options.data), "--work", str(work), "--began", str(began)]

    def seconds(share: float) -> str:
        return str(share * options.deadline)

    generate = [
        "generate.py", *common, "--adapt", seconds(_ADAPT), "--train", seconds(_MASKED),
        "--stop", seconds(_WRITE), "--texts", str(options.texts),
    ]  # fmt: skip
    teach = [
        "teach.py", *common, "--out", str(out), "--wait", seconds(_WAIT),
        "--train", seconds(_TRAIN), "--label", seconds(_LABEL),
    ]  # fmt: skip
    if options.smoke:
        generate += ["--layers", "2", "--batch-size", "32", "--write-batch", "64", "--workers", "2"]
        generate += ["--chunk", "50"]
        teach += ["--layers", "2", "--batch-size", "16", "--epochs", "3", "--copies", "2"]
        teach += ["--least", "0"]
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / command[0]), *command[1:]],
            env=environment, start_new_session=True,
        )
        for command in (generate, teach)
    ]  # fmt: skip
    try:
        while started[1].poll() is None and time.time() - began < options.deadline:
            time.sleep(0.2)
    finally:
        codes = [process.poll() for process in started]
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(work, ignore_errors=True)
    for path in out.glob("*.part"):
        path.unlink()
    sizes = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    print(f"[run {time.time() - began:6.1f}] ended with {codes}: {sizes}", flush=True)
    sys.exit(0 if (out / "report.json").exists() else 1)


if __name__ == "__main__":
    main()
