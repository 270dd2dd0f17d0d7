"""English sentences word by word in other languages, as further texts of a student.

There is far more English text than of any other language. A student that reads mostly words, not
their order, can learn how a language's words make up a meaning from a sentence whose words were
exchanged for theirs: its target is the vector of the English sentence. A word's translations are
those that IBM model 1 (Brown et al. 1993) finds in the groups of translations, in both directions,
and for rare and other words the nearest ones of the language's word list by the vectors of
Universal Sentence Encoder, corrected for words that are near everything (CSLS, Conneau et al.
2018). A word without either stays English.

Writes ``pseudo.tsv``, a text and the English one that it was, and ``all.txt``, what the student
reads: a share of these, a share of the English sentences, and all others.

    python pseudo.py $PQRNN_SHARED/data picked/ vectors/use-m3
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from texts import MASSIVE, STS, WORDS, massive_groups, read, sts_groups, write
from wordfreq import get_frequency_dict, top_n_list

from pqrnn_native.train.cache import TeacherCache
from pqrnn_native.train.data import read_translations
from pqrnn_native.train.teachers import StoredTeacher, unit_rows

LANGUAGES = (*STS[1:], "ar", "ko", "tr")
UNSPACED = ("ja", "zh")
ROUNDS = 8  # of expectation maximisation
LEAST = 0.1  # probability of a translation given the word
BACK = 0.05  # and of the word given the translation
NEIGHBOURS = 10  # that CSLS averages
NEAR = 0.45  # least cosine of a translation from the word lists
OFTEN = 30  # occurrences in parallel sentences from which on they alone are believed
STRAY = 5  # times as frequent in English: no word of the language
SLACK = 0.04  # how much nearer the best one may be
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
Lexicon = dict[str, tuple[list[str], np.ndarray]]


def splitter(language: str) -> Callable[[str], list[str]]:
    """Words of a text in lower case, no punctuation."""
    if language == "zh":
        import jieba

        return lambda text: [word for word in jieba.lcut(text) if _WORD.fullmatch(word)]
    if language == "ja":
        import fugashi

        tagger = fugashi.Tagger()
        return lambda text: [w.surface for w in tagger(text) if _WORD.fullmatch(w.surface)]
    return lambda text: _WORD.findall(text.lower())


def numbered(texts: Sequence[list[str]]) -> tuple[list[str], list[np.ndarray]]:
    """Distinct words, and each text's by number."""
    known: dict[str, int] = {}
    rows = [np.array([known.setdefault(w, len(known)) for w in text], int) for text in texts]
    return list(known), rows


def model_1(position: np.ndarray, pair: np.ndarray, start: np.ndarray, sources: int) -> np.ndarray:
    """t(target | source) of each distinct pair.

    Args:
        position: int64 ``[n]``, for each target word of each sentence and each source word there
            the number of the target's position.
        pair: int64 ``[n]``, and the number of the distinct pair.
        start: source word of each distinct pair.
        sources: how many source words.
    """
    chance = np.ones(len(start))
    for _ in range(ROUNDS):
        weight = chance[pair]
        weight /= np.bincount(position, weight)[position]
        counts = np.bincount(pair, weight, len(start))
        chance = counts / np.bincount(start, counts, sources)[start]
    return chance


def directed(
    source: list[np.ndarray], target: list[np.ndarray], sources: int, targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs ``source * targets + target``, sorted, and t(target | source) of each."""
    null = sources
    keys, positions, offset = [], [], 0
    for a, b in zip(source, target, strict=True):
        a = np.append(a, null)
        keys.append((a[None, :] * targets + b[:, None]).ravel())
        positions.append(np.repeat(np.arange(offset, offset + len(b)), len(a)))
        offset += len(b)
    distinct, pair = np.unique(np.concatenate(keys), return_inverse=True)
    return distinct, model_1(np.concatenate(positions), pair, distinct // targets, sources + 1)


def aligned(english: Sequence[list[str]], other: Sequence[list[str]]) -> Lexicon:
    """Translations of the English words of parallel sentences, with their probabilities."""
    words, left = numbered(english)
    foreign, right = numbered(other)
    forward, chance = directed(left, right, len(words), len(foreign))
    backward, back = directed(right, left, len(foreign), len(words))
    source, target = np.divmod(forward, len(foreign))
    real = (source < len(words)) & (chance >= LEAST)
    source, target, chance = source[real], target[real], chance[real]
    at = np.searchsorted(backward, target * len(words) + source)
    both = back[np.minimum(at, len(back) - 1)] >= BACK
    found: dict[str, tuple[list[str], list[float]]] = {}
    for s, t, p in zip(source[both], target[both], chance[both], strict=True):
        names, chances = found.setdefault(words[s], ([], []))
        names.append(foreign[t])
        chances.append(float(p))
    return {word: (names, np.array(p) / sum(p)) for word, (names, p) in found.items()}


def word_vectors(cache: TeacherCache, language: str) -> tuple[list[str], torch.Tensor]:
    """The language's word list, without English words that only stray into it; their vectors."""
    here, english = get_frequency_dict(language), get_frequency_dict("en")
    listed = top_n_list(language, WORDS)
    words = [word for word in listed if english.get(word, 0) <= STRAY * here[word]]
    vectors = cache.vectors[cache.rows(words)].astype(np.float32)
    return words, torch.from_numpy(unit_rows(vectors))


def nearest(words: list[str], a: torch.Tensor, foreign: list[str], b: torch.Tensor) -> Lexicon:
    """Translations of words among foreign ones, by the vectors ``[n, dim]`` of both."""
    crowd = [
        torch.cat([(part @ other.T).topk(NEIGHBOURS).values.mean(1) for part in side.split(2048)])
        for side, other in ((a, b), (b, a))
    ]
    out: Lexicon = {}
    for row, part in enumerate(a.split(2048)):
        cosine = part @ b.T
        score, best = (2 * cosine - crowd[1]).topk(3)
        good = (score >= score[:, :1] - 2 * SLACK) & (cosine.gather(1, best) >= NEAR)
        for at, (columns, kept) in enumerate(zip(best.tolist(), good.tolist(), strict=True)):
            names = [foreign[c] for c, k in zip(columns, kept, strict=True) if k]
            if names:
                out[words[2048 * row + at]] = (names, np.full(len(names), 1 / len(names)))
    return out


def mixed(near: Lexicon, parallel: Lexicon, counts: Counter[str]) -> Lexicon:
    """The second's translations; for rare words half of the time the first's."""
    out = near | parallel
    for word in near.keys() & parallel.keys():
        if counts[word] < OFTEN:
            sides = near[word], parallel[word]
            out[word] = (
                [name for names, _ in sides for name in names],
                np.concatenate([chances / 2 for _, chances in sides]),
            )
    return out


def translated(text: str, lexicon: Lexicon, language: str, rng: np.random.Generator) -> str:
    """The text with its words exchanged, its punctuation and order kept.

    Args:
        text: an English sentence.
        lexicon: with each word's chances summed up to each of its translations.
        language: of the lexicon.
        rng: what chooses among translations.
    """

    def other(match: re.Match[str]) -> str:
        found = lexicon.get(match[0].lower())
        if found is None:
            return match[0]
        names, sums = found
        return names[int(np.searchsorted(sums, rng.random()).clip(0, len(names) - 1))]

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
    parser.add_argument("data", type=Path, help="the shared data")
    parser.add_argument("picked", type=Path, help="folder that texts.py wrote")
    parser.add_argument("use", type=Path, help="folder of the first teacher's vectors")
    parser.add_argument("--copies", type=int, default=2, help="languages for each sentence")
    parser.add_argument("--share", type=float, default=0.35, help="of these that are learned")
    parser.add_argument("--english-share", type=float, default=0.45)
    options = parser.parse_args()
    parallel = [(STS, sts_groups(options.data)), (MASSIVE, massive_groups(options.data))]
    sentences = read(options.picked / "english.txt")
    rng = np.random.default_rng(0)
    chosen = np.stack([rng.permutation(len(LANGUAGES))[: options.copies] for _ in sentences])
    english = splitter("en")
    cache = TeacherCache(options.use.parent, StoredTeacher(options.use))
    words = word_vectors(cache, "en")
    with open(options.picked / "pseudo.tsv", "w", encoding="utf-8") as file:
        for number, language in enumerate(LANGUAGES):
            lexicon = nearest(*words, *word_vectors(cache, language))
            known = len(lexicon)
            split = splitter(language)
            sides = [
                (english(group[0]), split(group[order.index(language)]))
                for order, groups in parallel
                if language in order
                for group in groups
                if len(group) == len(order)
            ]
            if sides:
                counts = Counter(word for text, _ in sides for word in text)
                lexicon = mixed(lexicon, aligned(*zip(*sides, strict=True)), counts)
            print(language, len(sides), known, len(lexicon), flush=True)
            sums = {word: (names, chances.cumsum()) for word, (names, chances) in lexicon.items()}
            for row in np.flatnonzero((chosen == number).any(1)):
                text = translated(sentences[row], sums, language, rng)
                if text != sentences[row] and "\t" not in text:
                    file.write(f"{text}\t{sentences[row]}\n")
    write_all(options.picked, sentences, options.english_share, options.share)


if __name__ == "__main__":
    main()
