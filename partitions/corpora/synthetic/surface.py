"""From a sentence of the grammar to a sentence of one hospital: shorthand, terseness, misspellings, letter case."""

from collections.abc import Sequence

from partitions.corpora.synthetic.grammar import OUTSIDE, Draws, Tagged
from partitions.corpora.synthetic.hospitals import SHORTHAND, Hospital
from partitions.corpora.synthetic.phrases import CONCEPTS

_PHRASES: dict[str, list[tuple[tuple[str, ...], str]]] = {}
for _long, _short in SHORTHAND.items():
    _words = tuple(_long.split())
    _PHRASES.setdefault(_words[0], []).append((_words, _short))
for _candidates in _PHRASES.values():
    _candidates.sort(key=lambda candidate: -len(candidate[0]))

_DROPPED = frozenset({"the", "a", "an", "he", "she", "his", "her", "was", "were", "is", "had", "has", "this", "there"})
_ACRONYMS = """
    ms pe pt ct ra od ed pcp cea pd mr bs rt ppd sob cp htn cad chf mi dm dm2 copd gerd uti ckd esrd dvt tb cxr ecg ekg
    cabg bp hr rr o2 wbc hgb hct plt k na ca cr iv po im sc mri bun alt ast tsh inr bnp ldl ptt psa esr crp egd ercp kub
    mrcp eeg emg mra csf hiv cd4 ana ldh afp icd tpa tpn ivig hd nkda rpr pth ace ot ph hida abx
"""
_CAPITALS = frozenset(_ACRONYMS.split())
_NAMES = frozenset({"dr.", *CONCEPTS["surname"]})
_VOWELS = ("a", "e", "i", "o", "ul", "um", "un")
_NEIGHBOURS = {
    "a": "s", "b": "v", "c": "x", "d": "s", "e": "r", "f": "g", "g": "f", "h": "j", "i": "o", "j": "k", "k": "l",
    "l": "k", "m": "n", "n": "m", "o": "i", "p": "o", "q": "w", "r": "t", "s": "a", "t": "r", "u": "i", "v": "b",
    "w": "e", "x": "c", "y": "u", "z": "x",
}  # fmt: skip
_SHORTEST_MISSPELT = 5


def styled(sentence: Tagged, hospital: Hospital, misspellings: float, draws: Draws) -> Tagged:
    """Rewrite a sentence as a hospital would write it.

    Args:
        sentence: lower-case tokens and tags.
        hospital: whose style.
        misspellings: share of words misspelt at a hospital of factor 1.
        draws: where all random numbers come from.
    """
    sentence = _shortened(sentence, hospital.shorthand, draws)
    if hospital.terse and draws.chance(hospital.terse):
        sentence = _terse(sentence)
    rate = misspellings * hospital.misspelling
    words = _with_articles(sentence.tokens)
    words = [_misspelt(word, draws) if rate and draws.chance(rate) else word for word in words]
    return Tagged(_cased(words, hospital.case), sentence.tags)


def _shortened(sentence: Tagged, probability: float, draws: Draws) -> Tagged:
    """Shorten phrases that lie within one entity or outside all."""
    if not probability:
        return sentence
    tokens, tags = sentence.tokens, sentence.tags
    out = Tagged()
    position = 0
    while position < len(tokens):
        for words, short in _PHRASES.get(tokens[position], ()):
            end = position + len(words)
            if tuple(tokens[position:end]) == words and _one_span(tags[position:end]) and draws.chance(probability):
                for part, word in enumerate(short.split()):
                    out.add(word, tags[position] if part == 0 else tags[position].replace("B-", "I-"))
                position = end
                break
        else:
            out.add(tokens[position], tags[position])
            position += 1
    return out


def _one_span(tags: Sequence[str]) -> bool:
    return all(tag[0] == "I" for tag in tags[1:]) if tags[0] != OUTSIDE else all(tag == OUTSIDE for tag in tags)


def _terse(sentence: Tagged) -> Tagged:
    """Drop articles, pronouns and auxiliaries, as in telegraphic notes; an entity keeps at least its other words."""
    out = Tagged()
    pending = ""
    for position, (token, tag) in enumerate(zip(sentence.tokens, sentence.tags, strict=True)):
        follows = sentence.tags[position + 1 : position + 2]
        if token in _DROPPED and (tag == OUTSIDE or (tag[0] == "B" and follows and follows[0][0] == "I")):
            pending = tag if tag != OUTSIDE else ""
            continue
        out.add(token, pending if pending and tag[0] == "I" else tag)
        pending = ""
    return out if out.tokens else sentence


def _with_articles(words: Sequence[str]) -> list[str]:
    """``a`` becomes ``an`` before a vowel sound, roughly."""
    following = [*words[1:], ""]
    return [
        "an" if word == "a" and after.startswith(_VOWELS) else word
        for word, after in zip(words, following, strict=True)
    ]


def _misspelt(word: str, draws: Draws) -> str:
    """One slip of the pen inside a long word: a letter left out, doubled, swapped with the next, or mistyped."""
    if len(word) < _SHORTEST_MISSPELT or not word.isalpha():
        return word
    place = 1 + draws.below(len(word) - 2)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    slips = (
        before + after,
        before + 2 * letter + after,
        before + after[0] + letter + after[1:],
        before + _NEIGHBOURS.get(letter, letter) + after,
    )
    return slips[draws.below(len(slips))]


def _cased(words: Sequence[str], case: str) -> list[str]:
    if case == "upper":
        return [word.upper() for word in words]
    if case == "lower":
        return list(words)
    cased = [word.upper() if word in _CAPITALS else word.capitalize() if word in _NAMES else word for word in words]
    first = next((place for place, word in enumerate(cased) if word[0].isalpha()), None)
    if first is not None:
        cased[first] = cased[first][0].upper() + cased[first][1:]
    return cased
