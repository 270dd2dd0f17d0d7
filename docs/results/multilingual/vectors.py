"""Vectors of the two teachers of the multilingual encoder, as caches that join.py reads.

A run that was cut goes on where it was.

    python vectors.py --onnx embedding_model_quantized.onnx --e5 e5/ picked/ vectors/
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pqrnn_native.train.cache import TeacherCache
from pqrnn_native.train.run_folder import progress_bar
from pqrnn_native.train.teachers import OnnxTeacher, SentenceTransformerTeacher


def main() -> None:
    """Fill both caches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picked", type=Path, help="folder that texts.py wrote")
    parser.add_argument("out", type=Path, help="folder of the caches")
    parser.add_argument("--onnx", type=Path, required=True, help="the one of all texts")
    parser.add_argument("--e5", type=Path, required=True, help="folder that unpack_e5.py wrote")
    parser.add_argument("--few", type=int, help="texts for it (default: all of few.txt)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    e5 = SentenceTransformerTeacher(options.e5, name="e5", dtype=options.dtype)
    for teacher, file, most in (
        (OnnxTeacher(options.onnx, name="use-m3"), "texts.txt", None),
        (e5, "few.txt", options.few),
    ):
        texts = (options.picked / file).read_text("utf-8").split("\n")[:-1][:most]
        with progress_bar(teacher.name, unit="text", show=None) as bar:
            TeacherCache(options.out, teacher).add(texts, progress=bar.at)


if __name__ == "__main__":
    main()
