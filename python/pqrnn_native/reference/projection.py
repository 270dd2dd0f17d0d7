"""The projection written out from its specification: slow, obvious, independent of the core.

Only the Unicode tables come from the compiled core; they have tests of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

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
    """Section 2: the 64-bit words of a word, in emission order."""
    word = word or b"<null>"
    if config.hash == "murmur":
        return murmur(word, config.feature_size, config.char)
    family = xfixhash if config.hash.startswith("xfix") else unicodehash
    width = int(config.hash.removeprefix("xfixhash").removeprefix("unicodehash"))
    return family(word, config.feature_size, width)


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


def split(text: bytes, config: ProjectionConfig) -> list[bytes]:
    """Section 3, and the Unicode words of this package."""
    limit = config.max_tokens if config.max_tokens > 0 else len(text) + 1
    if config.split == "space":
        return split_space(text, config.max_tokens)
    if config.split == "codepoints":
        return [c.encode() for c in well_formed_start(text)][:limit]
    decoded = list(characters(text))
    spans = split_words("".join(c or "\ufffd" for c, _ in decoded))
    return [b"".join(raw for _, raw in decoded[b:e]) for b, e in spans][:limit]


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

    def words(self, text: bytes) -> list[tuple[bytes, bool, bool]]:
        """Word, first-cap and all-caps of each position of a text (V1)."""
        return self._with_tags(split(normalize(text, self.config), self.config))

    def presegmented_words(self, tokens: Sequence[bytes]) -> list[tuple[bytes, bool, bool]]:
        """The same for tokens (V2, section 8.2)."""
        found = self._with_tags(tokens)
        if not self.config.normalize_repetition:
            return found
        inner = range(self.config.bos, len(found) - self.config.eos)
        words = self.config.split == "words"
        for i in inner:
            found[i] = (normalize_repetition(found[i][0], words), *found[i][1:])
        return found

    def features(self, positions: Sequence[tuple[bytes, bool, bool]]) -> npt.NDArray[np.float32]:
        """Features [positions, F], extra columns included (section 6)."""
        config = self.config
        rows = np.zeros((len(positions), config.feature_size), np.float32)
        seen: Counter[int] = Counter()
        tokens = np.float32(len(positions) - config.bos - config.eos)
        for row, (word, first_cap, all_caps) in zip(rows, positions, strict=True):
            codes = hash_word(word, config)
            row[:] = ternary(codes, config.feature_size)
            if config.novelty_bits:
                row[-1] = min(seen[codes[0]] / 2**config.novelty_bits, 1) * 2 - 1
                seen[codes[0]] += 1
            if config.doc_size_levels:
                with np.errstate(divide="ignore"):
                    size = np.log2(tokens) / np.float32(config.doc_size_levels)
                row[-2] = min(size, 1) * 2 - 1
            if config.first_cap:
                row[-3] = self._flag(config.first_cap, first_cap)
            if config.all_caps:
                row[-4] = self._flag(config.all_caps, all_caps)
        return rows

    def _with_tags(self, tokens: Sequence[bytes]) -> list[tuple[bytes, bool, bool]]:
        found = []
        for token in tokens:
            word, first_cap, all_caps = fold(token, self.config)
            if self.config.distortion:
                word = self.distorter.distort(word, self.config.distortion)
            found.append((word, first_cap, all_caps))
        if self.config.bos:
            found.insert(0, (b"<BOS>", False, False))
        if self.config.eos:
            found.append((b"<EOS>", False, False))
        return found

    def _flag(self, probability: float, flag: bool) -> float:
        if self.caps.uniform() > np.float32(probability):
            return 0.0
        return 1.0 if flag else -1.0
