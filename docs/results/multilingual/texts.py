"""The sentences that the multilingual encoder learns from.

Writes into a folder: ``texts.txt``, of which Universal Sentence Encoder multilingual has to give
vectors; ``sentences.txt``, those that are no single words of a list; ``english.txt``, the English
ones of these; ``translations.tsv``, groups of sentences that say the same; and ``dev.csv``, a part
of STS-B's dev rows in eight languages, half of them across languages, to choose weights by.

    python texts.py $PQRNN_SHARED/data picked/
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterable
from pathlib import Path

from wordfreq import top_n_list

from pqrnn_native.train.data import language_of, open_text

# Those of the Universal Sentence Encoder; English in all its files.
LANGUAGES = (
    "ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh-CN",
    "zh-TW",
)  # fmt: skip
WORDS = 20_000  # of each language; a word alone costs next to nothing
WORD_LANGUAGES = (*(name for name in LANGUAGES if name not in ("th", "zh-CN", "zh-TW")), "zh")
STS = ("en", "de", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh")
MASSIVE = ("en", "de", "es", "fr", "hi", "th")
_THAI_SPACE = re.compile("(?<=[\u0e00-\u0e7f]) (?=[\u0e00-\u0e7f])")


def lines(path: Path) -> list[str]:
    """Sentences of 3 to 160 characters; white space is single spaces."""
    with open_text(path) as file:
        return [text for line in file if 3 <= len(text := " ".join(line.split())) <= 160]


def sts_groups(data: Path) -> list[list[str]]:
    """Sentences of STS-B's training rows, a language after the other; scores are not read."""
    columns = []
    for language in STS:
        with open_text(data / "stsb_multi" / language / "train.csv.gz") as file:
            rows = [(row[0].strip(), row[1].strip()) for row in csv.reader(file)]
        columns.append([text for pair in rows for text in pair])
    groups = {row[0]: list(row) for row in zip(*columns, strict=True)}
    held = set()
    for language in STS:
        with open_text(data / "stsb_multi" / language / "dev.csv.gz") as file:
            held.update(text.strip() for row in csv.reader(file) for text in row[:2])
    return [[t for t in group if t and t not in held] for group in groups.values()]


def massive_groups(data: Path) -> list[list[str]]:
    """The training utterances of MASSIVE, a language after the other."""
    columns = []
    for language in MASSIVE:
        with open_text(data / "massive" / language / "train.tsv.gz") as file:
            columns.append([without_spaces(line.split("\t")[0]) for line in file])
    return [list(row) for row in zip(*columns, strict=True)]


def without_spaces(text: str) -> str:
    """Without those between Thai letters: in MASSIVE they stand where slots begin and end."""
    return _THAI_SPACE.sub("", text)


def dev_pairs(data: Path) -> list[list[str]]:
    """Every sixth dev row in a language, and with its first sentence in English."""
    out: list[list[str]] = []
    english: list[list[str]] = []
    for language in ("en", "de", "es", "fr", "pt", "ru", "zh", "ja"):
        with open_text(data / "stsb_multi" / language / "dev.csv.gz") as file:
            rows = list(csv.reader(file))[::6]
        if language == "en":
            english = rows
        else:
            out += [[a[0], *b[1:]] for a, b in zip(english, rows, strict=True)]
        out += rows
    return out


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the shared data")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    groups = [*sts_groups(options.data), *massive_groups(options.data)]
    groups = [[text for text in group if "\t" not in text] for group in groups]
    english = [group[0] for group in groups if group]
    others = [text for group in groups for text in group[1:]]
    for path in sorted((options.data / "unlabelled").rglob("*.txt.gz")):
        if language_of(path) in LANGUAGES:
            (english if language_of(path) == "en" else others).extend(lines(path))
    words = [word for language in WORD_LANGUAGES for word in top_n_list(language, WORDS)]
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / "english.txt", english)
    write(options.out / "sentences.txt", [*english, *others])
    write(options.out / "texts.txt", [*english, *others, *words])
    write(options.out / "translations.tsv", ("\t".join(group) for group in groups))
    with open(options.out / "dev.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(dev_pairs(options.data))


def read(path: Path) -> list[str]:
    """The lines that :func:`write` wrote."""
    return path.read_text("utf-8").split("\n")[:-1]


def write(path: Path, rows: Iterable[str]) -> None:
    """Distinct lines."""
    distinct = dict.fromkeys(rows)
    path.write_text("".join(f"{row}\n" for row in distinct), "utf-8")
    print(path, len(distinct))


if __name__ == "__main__":
    main()
