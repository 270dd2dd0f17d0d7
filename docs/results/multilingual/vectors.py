"""Vectors of the teachers of the multilingual encoder, as caches that join.py reads.

A run that was cut goes on where it was.

    python vectors.py --onnx embedding_model_quantized.onnx picked/ vectors/
"""

from __future__ import annotations

import argparse
from pathlib import Path

from texts import read

from pqrnn_native.train.cache import TeacherCache
from pqrnn_native.train.run_folder import progress_bar
from pqrnn_native.train.teachers import OnnxTeacher, load_teacher


def main() -> None:
    """Fill both caches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picked", type=Path, help="folder that texts.py wrote")
    parser.add_argument("out", type=Path, help="folder of the caches")
    parser.add_argument("--onnx", type=Path, required=True, help="the one of all texts")
    options = parser.parse_args()
    for teacher, file in (
        (OnnxTeacher(options.onnx, name="use-m3"), "texts.txt"),
        (load_teacher("minilm"), "english.txt"),
    ):
        texts = read(options.picked / file)
        with progress_bar(teacher.name, unit="text", show=None) as bar:
            TeacherCache(options.out, teacher).add(texts, progress=bar.at)


if __name__ == "__main__":
    main()
