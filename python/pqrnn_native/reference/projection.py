"""The projection written out from its specification: slow, obvious, independent of the core.

Only the Unicode tables come from the compiled core; they have tests of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pqrnn_native import _core
from pqrnn_native.config import ProjectionConfig

from .words import split_words

K1 = 0xC6A4A7935BD1E995
K2 = 0x9E3779B97F4A7835
MASK = 2**64 - 1

# A character and the bytes it was decoded from; None stands for an ill-formed run.
Character = tuple[str | None, bytes]


class Token(NamedTuple):
    """Bytes of a token, and whether it begins where the token before ends."""

    raw: bytes
    joined: bool


class Position(NamedTuple):
    """What the features of a position follow from."""

    word: bytes
    first_cap: bool
    all_caps: bool
    joined: bool  # to the position before: they are of one run


def characters(text: bytes) -> Iterator[Character]:
    """Decode UTF-8 one character, or one maximal ill-formed run, at a time."""
    while text:
        try:
            size = len(text[:4].decode("utf-8")[0].encode())
            yield text[:size].decode("utf-8"), text[:size]
        except UnicodeDecodeError as error:
            if error.start > 0:
                size = len(text[: error.start].decode("utf-8")[0].encode())
                yield text[:size].decode("utf-8"), text[:size]
            else:
                size = error.end  # of the maximal run, 1 to 3 bytes
                yield None, text[:size]
        text = text[size:]


def well_formed_start(text: bytes) -> list[str]:
    """The characters before the first ill-formed sequence."""
    found = []
    for character, _ in characters(text):
        if character is None:
            break
        found.append(character)
    return found


def mix(v: int) -> int:
    """The shift-xor of section 2."""
    return v ^ (v >> 47)


def load(block: bytes, char: str) -> int:
    """Up to eight bytes as C reads them through a signed or unsigned char."""
    v = 0
    for byte in reversed(block):
        extended = byte if char == "unsigned" or byte < 0x80 else byte - 256
        v = ((v << 8) | (extended & MASK)) & MASK
    return v


def fingerprint(word: bytes, char: str) -> tuple[int, int]:
    """Section 2.1: (low, high)."""
    h, g = len(word) * K1 & MASK, 0
    whole = len(word) // 8 * 8
    for i in range(0, whole, 8):
        d = load(word[i : i + 8], char)
        h = (h ^ (mix(d * K1 & MASK) * K1 & MASK)) * K1 & MASK
        g ^= h
    if whole < len(word):
        h = (h ^ load(word[whole:], char)) * K1 & MASK
        g ^= h
    h = mix(h) * K1 & MASK
    g ^= h
    return mix(h), mix(g * K2 & MASK) * K2 & MASK


def murmur(word: bytes, feature_size: int, char: str) -> list[int]:
    """Sections 2.1 and 2.2."""
    low, high = fingerprint(word, char)
    codes = []
    for _ in range(-(-feature_size // 64)):
        codes += [low, high]
        a = mix(low) * K1 & MASK
        b = high ^ a
        low, high = mix(b * K2 & MASK) * K2 & MASK, mix(a)
    return codes


def xfixhash(word: bytes, feature_size: int, width: int) -> list[int]:
    """Section 2.3."""
    n = len(word)
    low, high, front, back = n * K1 & MASK, n * K2 & MASK, K1, K2
    codes: list[int] = []
    i = 0
    for pair in range(-(-feature_size // 64)):
        for _ in range(64 // width - (pair == 0)):
            front = ((front << 8) | word[i]) * K1 & MASK
            back = ((back << 8) | word[n - 1 - i]) * K2 & MASK
            low = (low << width | front % 2**width) & MASK
            high = (high << width | back % 2**width) & MASK
            i = (i + 1) % n
        codes += [low, high]
    return codes


def unicodehash(word: bytes, feature_size: int, width: int) -> list[int]:
    """Section 2.4."""
    points = [ord(c) for c in well_formed_start(word)]
    capacity = 2 * feature_size // width
    if len(points) > capacity:
        drop = (len(points) - capacity) // 2
        points = points[drop : drop + capacity]
    tops = [(u * K1 & MASK) >> (64 - width) << (64 - width) for u in points]
    codes, running = [], 0
    for _ in range(-(-2 * feature_size // 64)):
        for _ in range(64 // width):
            running >>= width
            if tops:
                running |= tops.pop(0)
        codes.append(running)
    return codes


def hash_word(word: bytes, config: ProjectionConfig) -> list[int]:
    """Section 2: the 64-bit words of a word, in emission order; those of its n-grams last."""
    if config.ngram_size:
        return whole_codes(word, config) + ngram_codes([word], config)[0]
    return whole_codes(word, config)


def whole_codes(word: bytes, config: ProjectionConfig) -> list[int]:
    """Section 2."""
    word = word or b"<null>"
    if config.token_hashes:
        codes = [0] * ((config.feature_size - config.ngram_size) // 32)
        add_hashed(codes, fingerprint(word, config.char)[0], config.token_hashes)
        return codes
    if config.ngram_size:
        whole = config.feature_size - config.ngram_size
        return murmur(word, whole, config.char)[: whole // 32]
    if config.hash == "murmur":
        return murmur(word, config.feature_size, config.char)
    family = xfixhash if config.hash.startswith("xfix") else unicodehash
    width = int(config.hash.removeprefix("xfixhash").removeprefix("unicodehash"))
    return family(word, config.feature_size, width)


def ngram_codes(run: Sequence[bytes], config: ProjectionConfig) -> list[list[int]]:
    """Code words of the n-grams of each token of a run, given the tokens' words."""
    words = ["".join(c or "\ufffd" for c, _ in characters(word)) for word in run]
    line = "\x02" + "".join(words) + "\x03"
    found = []
    begin = 1
    for word in words:
        own = range(begin, begin + len(word))
        codes = [0] * (config.ngram_size // 32)
        for n in range(config.ngram_min, config.ngram_max + 1):
            for i in range(len(line) - n + 1):
                if any(place in own for place in range(i, i + n)):
                    add_ngram(codes, line[i : i + n], config.ngram_hashes)
        found.append(codes)
        begin += len(word)
    return found


def add_hashed(codes: list[int], key: int, hashes: int) -> None:
    """Write what so many hash functions choose, each one feature of its part of all."""
    size = 32 * len(codes)
    for part in range(hashes):
        first, end = part * size // hashes, (part + 1) * size // hashes
        key = mix(key) * K2 & MASK
        feature = first + ((key >> 32) * (end - first) >> 32)
        key = mix(key) * K1 & MASK
        codes[feature // 32] |= (1 if key & 1 else 2) << (2 * (feature % 32))


def add_ngram(codes: list[int], ngram: str, hashes: int) -> None:
    """Write one n-gram: features of so many hash functions, or 32 signs into every 16th word."""
    h = K2
    for character in ngram:
        h = (h ^ ord(character)) * K1 & MASK
    if hashes:
        return add_hashed(codes, h, hashes)
    parts = max(1, len(codes) // 16)
    for part in range(parts):
        first, end = part * len(codes) // parts, (part + 1) * len(codes) // parts
        h = mix(h) * K2 & MASK
        slot = first + ((h >> 32) * (end - first) >> 32)
        h = mix(h) * K1 & MASK
        for group in range(32):
            plus = h >> (2 * group) & 1
            codes[slot] |= (1 if plus else 2) << (2 * group)


def ternary(codes: Sequence[int], feature_size: int) -> list[int]:
    """Section 2.5."""
    groups = [code >> shift & 3 for code in codes for shift in range(0, 64, 2)]
    return [(0, 1, -1, 0)[group] for group in groups[:feature_size]]


def split_space(text: bytes, limit: int) -> list[bytes]:
    """Section 3.1."""
    if limit <= 0:
        return [token for token in text.split(b" ") if token]
    tokens: list[bytes] = []
    rest = text.lstrip(b" ")
    while b" " in rest and len(tokens) < limit - 1:
        token, rest = rest.split(b" ", 1)
        if token:
            tokens.append(token)
    last = rest.split(b" ", 1)[0]
    return [*tokens, last] if last else tokens


def split(text: bytes, config: ProjectionConfig) -> list[Token]:
    """Section 3, and the Unicode words of this package."""
    limit = config.max_tokens if config.max_tokens > 0 else len(text) + 1
    if config.split == "space":
        return [Token(raw, False) for raw in split_space(text, config.max_tokens)]
    if config.split == "codepoints":
        points = well_formed_start(text)[:limit]
        return [Token(c.encode(), i > 0) for i, c in enumerate(points)]
    decoded = list(characters(text))
    spans = split_words("".join(c or "\ufffd" for c, _ in decoded), config.split_apostrophes)
    ends = {e for _, e in spans}
    return [Token(b"".join(raw for _, raw in decoded[b:e]), b in ends) for b, e in spans][:limit]


def contract(text: bytes, n: int, words: bool) -> bytes:
    """Section 4.1, one pass; `words` leaves the cut at NUL out."""
    if len(text) < 3 * n:
        return text if words else text.split(b"\0")[0]
    points = well_formed_start(text)
    out: list[str] = []
    i = 0
    while i < len(points):
        pattern = points[i : i + n]
        copies = 0
        if len(pattern) == n and not set(pattern) & set(" 0123456789"):
            while points[i + (copies + 1) * n : i + (copies + 2) * n] == pattern:
                copies += 1
        if copies >= 2:
            out += 2 * pattern
            i += (copies + 1) * n
        else:
            out.append(points[i])
            i += 1
    return "".join(out).encode()


def normalize_repetition(text: bytes, words: bool) -> bytes:
    """Section 4.1."""
    for n in (1, 2, 3):
        text = contract(text, n, words)
    return text


def separate(text: bytes, separators: bytes) -> bytes:
    """Section 4.3."""
    out = bytearray()
    for i, byte in enumerate(text):
        separator = byte in separators and byte != ord(" ")
        if separator and i > 0 and text[i - 1] != ord(" ") and out[-1] != ord(" "):
            out += b" "
        out.append(byte)
        last = i + 1 == len(text)
        if separator and not last and text[i + 1] != ord(" ") and byte != ord("'"):
            out += b" "
    return bytes(out)


def normalize(text: bytes, config: ProjectionConfig) -> bytes:
    """Section 4; for words, ill-formed bytes become U+FFFD first."""
    words = config.split == "words"
    if words and (config.normalize_repetition or config.normalize_spaces or config.separators):
        text = "".join(c or "\ufffd" for c, _ in characters(text)).encode()
    if config.normalize_repetition:
        text = normalize_repetition(text, words)
    if config.normalize_spaces:
        text = b" ".join(split_space(text, 0))
    if config.separators:
        text = separate(text, config.separators.encode())
    return text


def parse_vocabulary(vocabulary: str) -> set[int]:
    """Section 5."""
    points = {ord(c) for c in vocabulary} - {0xFFFD}
    return {c for c in points if not _core.is_uppercase(c)}


def fold(token: bytes, config: ProjectionConfig) -> tuple[bytes, bool, bool]:
    """Section 5: the word, first-cap, all-caps."""
    vocabulary = parse_vocabulary(config.vocabulary)
    word, changed = "", []
    for character, _ in characters(token):
        if character is None and config.split != "words":
            break
        c = ord(character or "\ufffd")
        lowered = _core.simple_lower(c)
        kept = lowered if config.lower else c
        if config.alphabetic_only and kept != ord(" ") and not _core.is_alphabetic(kept):
            continue
        if vocabulary and kept not in vocabulary:
            continue
        word += chr(kept)
        changed.append(lowered != c)
    first_cap = changed[:1] == [True] and not any(changed[1:])
    return word.encode(), first_cap, bool(changed) and all(changed)


class Philox:
    """Section 7.2."""

    def __init__(self, key: int = 171) -> None:
        self.key = key
        self.drawn = 0

    def next(self) -> int:
        block, index = divmod(self.drawn, 4)
        self.drawn += 1
        x = [block % 2**32, block >> 32, 0, 0]
        k = [self.key % 2**32, self.key >> 32]
        for _ in range(10):
            p0, p1 = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
            x = [p1 >> 32 ^ x[1] ^ k[0], p1 % 2**32, p0 >> 32 ^ x[3] ^ k[1], p0 % 2**32]
            k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
        return x[index]

    def uniform(self) -> np.float32:
        return np.float32((self.next() & 0x7FFFFF) / 2**23)


class Distorter:
    """Section 7.1."""

    def __init__(self, key: int = 171) -> None:
        self.random = Philox(key)
        self.remembered = 0

    def distort(self, word: bytes, probability: float) -> bytes:
        if not self.random.uniform() < np.float32(probability) or not word:
            return word
        kind = self.random.uniform()
        raw = word.decode().encode("utf-16-le")
        units = [raw[i] + 256 * raw[i + 1] for i in range(0, len(raw), 2)]
        x = self.random.next() % len(units)
        if kind < np.float32(0.33):
            self.remembered = units.pop(x)
        elif kind < np.float32(0.66):
            if len(units) > 2:
                self.remembered = units.pop(x)
                units.insert(self.random.next() % len(units), self.remembered)
        elif self.remembered:
            units.insert(x, self.remembered)
        distorted = b"".join(unit.to_bytes(2, "little") for unit in units)
        # Paired halves join, lone ones stay surrogates, which are then replaced.
        text = distorted.decode("utf-16-le", "surrogatepass")
        return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text).encode()


class ReferenceProjection:
    """One operator: settings and the two random streams of section 7.2."""

    def __init__(self, config: ProjectionConfig) -> None:
        self.config = config
        self.distorter = Distorter()
        self.caps = Philox()

    def words(self, text: bytes) -> list[Position]:
        """The positions of a text (V1)."""
        return self._with_tags(split(normalize(text, self.config), self.config))

    def presegmented_words(self, tokens: Sequence[bytes]) -> list[Position]:
        """The same for tokens (V2, section 8.2)."""
        found = self._with_tags([Token(raw, False) for raw in tokens])
        if not self.config.normalize_repetition:
            return found
        inner = range(self.config.bos, len(found) - self.config.eos)
        words = self.config.split == "words"
        for i in inner:
            found[i] = found[i]._replace(word=normalize_repetition(found[i].word, words))
        return found

    def codes(self, positions: Sequence[Position]) -> list[list[int]]:
        """The 64-bit words of each position."""
        if not self.config.ngram_size:
            return [hash_word(position.word, self.config) for position in positions]
        runs: list[list[bytes]] = []
        for position in positions:
            if not (position.joined and self.config.ngram_runs):
                runs.append([])
            runs[-1].append(position.word)
        return [
            whole_codes(word, self.config) + codes
            for run in runs
            for word, codes in zip(run, ngram_codes(run, self.config), strict=True)
        ]

    def features(self, positions: Sequence[Position]) -> npt.NDArray[np.float32]:
        """Features [positions, F], extra columns included (section 6)."""
        config = self.config
        rows = np.zeros((len(positions), config.feature_size), np.float32)
        seen: Counter[int] = Counter()
        tokens = np.float32(len(positions) - config.bos - config.eos)
        for row, position, codes in zip(rows, positions, self.codes(positions), strict=True):
            row[:] = ternary(codes, config.feature_size)
            if config.novelty_bits:
                known = fingerprint(position.word or b"<null>", config.char)[0]
                first = known if config.hash == "murmur" else codes[0]
                row[-1] = min(seen[first] / 2**config.novelty_bits, 1) * 2 - 1
                seen[first] += 1
            if config.doc_size_levels:
                with np.errstate(divide="ignore"):
                    size = np.log2(tokens) / np.float32(config.doc_size_levels)
                row[-2] = min(size, 1) * 2 - 1
            if config.first_cap:
                row[-3] = self._flag(config.first_cap, position.first_cap)
            if config.all_caps:
                row[-4] = self._flag(config.all_caps, position.all_caps)
        return rows

    def _with_tags(self, tokens: Sequence[Token]) -> list[Position]:
        found = []
        for token in tokens:
            word, first_cap, all_caps = fold(token.raw, self.config)
            if self.config.distortion:
                word = self.distorter.distort(word, self.config.distortion)
            found.append(Position(word, first_cap, all_caps, token.joined))
        if self.config.bos:
            found.insert(0, Position(b"<BOS>", False, False, False))
        if self.config.eos:
            found.append(Position(b"<EOS>", False, False, False))
        return found

    def _flag(self, probability: float, flag: bool) -> float:
        if self.caps.uniform() > np.float32(probability):
            return 0.0
        return 1.0 if flag else -1.0
