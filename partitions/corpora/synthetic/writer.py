"""One author at one hospital: writes sentences about one patient in that hospital's style."""

from itertools import accumulate

import numpy as np

from partitions.corpora.synthetic.ambiguous import SENSES
from partitions.corpora.synthetic.frames import FRAMES
from partitions.corpora.synthetic.grammar import Draws, Grammar, Tagged
from partitions.corpora.synthetic.hospitals import Hospital
from partitions.corpora.synthetic.lexicon import LEXICON, SPECIALTIES
from partitions.corpora.synthetic.phrases import CONCEPTS, SENTENCES
from partitions.corpora.synthetic.surface import styled

GRAMMAR = Grammar(
    {
        **CONCEPTS,
        **{f"section.{name}": templates for name, templates in SENTENCES.items()},
        **{f"sense.{form}": templates for form, templates in SENSES.items()},
        **{f"frame.{name}": templates for name, templates in FRAMES.items()},
        "ambiguous": [f"<sense.{form}>" for form in SENSES],
    },
    LEXICON,
)

_FOCUS = 0.6


class Writer:
    """Writes about one patient, chosen from the hospital's case mix."""

    def __init__(self, hospital: Hospital, misspellings: float, rng: np.random.Generator) -> None:
        """Choose the patient.

        Args:
            hospital: the hospital whose style is written.
            misspellings: share of words misspelt (at a hospital of factor 1).
            rng: where all random numbers come from.
        """
        self.hospital = hospital
        self.draws = Draws(rng)
        self._misspellings = misspellings
        weights = [hospital.patients.get(specialty, hospital.other) for specialty in SPECIALTIES]
        self._mix = [weight / sum(weights) for weight in accumulate(weights)]
        self.specialty = self.another_specialty()
        self._bindings = self._patient()

    def another_specialty(self) -> str:
        """A specialty drawn from the hospital's case mix."""
        return SPECIALTIES[self.draws.weighted(self._mix)]

    def _patient(self) -> dict[str, str]:
        female = self.draws.chance(0.5)
        if self.hospital.children:
            noun = "girl" if female else "boy"
            age = f"{2 + self.draws.below(16)} {'month' if self.draws.chance(0.2) else 'year'} old"
        else:
            noun = "woman" if female else "man"
            age = f"{20 + self.draws.below(70)} year old"
        pronouns = {"he": "she", "his": "her", "him": "her"} if female else {"he": "he", "his": "his", "him": "him"}
        return {**pronouns, "age": age, "person.noun": noun}

    def sentence(self, rule: str, specialty: str = "") -> Tagged:
        """One sentence in the hospital's style.

        Args:
            rule: the grammar's rule to expand.
            specialty: the specialty of everything mentioned; when empty, mostly the patient's own, at times another.
        """

        def about() -> str:
            return specialty or (self.specialty if self.draws.chance(_FOCUS) else self.another_specialty())

        plain = GRAMMAR.expand(rule, self.draws, about, self._bindings)
        return styled(plain, self.hospital, self._misspellings, self.draws)


def writer(hospital: Hospital, misspellings: float, seed: int, stream: int, index: int) -> Writer:
    """The writer of note ``index`` of a stream of notes; any note can be written again alone."""
    return Writer(hospital, misspellings, np.random.default_rng([seed, stream, index]))
