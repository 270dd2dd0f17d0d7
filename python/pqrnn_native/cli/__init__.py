"""The command ``pqrnn-native``. Errors are one sentence on standard error and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from . import bench, distill, encode, evaluate, export, info, label, predict, teach, train


class _Parser(argparse.ArgumentParser):
    """argparse prints the usage before an error; one sentence is enough."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pqrnn-native", description="pQRNN text encoders.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (
        encode, info, train, evaluate, predict, distill, teach, label, export, bench,
    ):  # fmt: skip
        name = module.__name__.rpartition(".")[2]
        doc = (module.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=doc.splitlines()[0],
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    try:
        options.run(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone; keep the interpreter from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError) as error:
        sentence = " ".join(str(error).split()) or type(error).__name__
        print(f"pqrnn-native {options.command}: {sentence}", file=sys.stderr)
        return 2
    return 0
