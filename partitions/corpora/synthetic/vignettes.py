"""Short notes to be classified: which specialty treats the reason for the visit, among all that is mentioned?"""

from dataclasses import dataclass

from partitions.corpora.synthetic.grammar import Tagged
from partitions.corpora.synthetic.writer import Writer

_OTHERS = 2
_SUPPORT = (2, 3)
_BACKGROUND = (3, 4)
_WORDS = (60, 110)


@dataclass(frozen=True)
class Vignette:
    """A short note.

    Attributes:
        sentences: in reading order, which is random.
        label: the specialty of the reason for the visit.
    """

    sentences: list[Tagged]
    label: str


def vignette(author: Writer) -> Vignette:
    """A note about the author's patient: the reason for the visit and, in the background, other specialties' matters.

    The other specialties are mentioned about as often as the reason's, so that their words mislead a bag of words.
    """
    draws, label = author.draws, author.specialty
    others: list[str] = []
    while len(others) < _OTHERS:
        other = author.another_specialty()
        if other != label and other not in others:
            others.append(other)
    sentences = [author.sentence("frame.reason", label)]
    sentences += [author.sentence("frame.support", label) for _ in range(_between(_SUPPORT, author))]
    sentences += [
        author.sentence("frame.background", others[draws.below(_OTHERS)]) for _ in range(_between(_BACKGROUND, author))
    ]
    wanted = _between(_WORDS, author)
    written = {" ".join(sentence.tokens) for sentence in sentences}
    while sum(len(sentence.tokens) for sentence in sentences) < wanted:
        sentence = author.sentence("frame.neutral")
        if " ".join(sentence.tokens) not in written:
            written.add(" ".join(sentence.tokens))
            sentences.append(sentence)
    return Vignette(draws.shuffled(sentences), label)


def _between(bounds: tuple[int, int], author: Writer) -> int:
    low, high = bounds
    return low + author.draws.below(high - low + 1)
