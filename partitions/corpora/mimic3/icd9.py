"""ICD-9-CM codes: their dots and their chapters."""

from bisect import bisect_right

_CHAPTERS = {
    0: "001-139 infectious and parasitic diseases",
    140: "140-239 neoplasms",
    240: "240-279 endocrine, nutritional, metabolic, immunity",
    280: "280-289 blood",
    290: "290-319 mental disorders",
    320: "320-389 nervous system and sense organs",
    390: "390-459 circulatory system",
    460: "460-519 respiratory system",
    520: "520-579 digestive system",
    580: "580-629 genitourinary system",
    630: "630-679 pregnancy and childbirth",
    680: "680-709 skin",
    710: "710-739 musculoskeletal system",
    740: "740-759 congenital anomalies",
    760: "760-779 perinatal conditions",
    780: "780-799 symptoms and ill-defined conditions",
    800: "800-999 injury and poisoning",
}
"""First category of each chapter -> its name."""
_LETTERS = {"E": "E external causes", "V": "V factors influencing health status"}

CHAPTERS = (*_CHAPTERS.values(), *_LETTERS.values())
"""The seventeen chapters of ICD-9-CM and its two supplementary classifications, sorted."""


def chapter(code: str) -> str:
    """The chapter of a code without dot: ``"4019"`` is in ``"390-459 circulatory system"``."""
    if code[0] in _LETTERS:
        return _LETTERS[code[0]]
    return CHAPTERS[bisect_right(list(_CHAPTERS), int(code[:3])) - 1]


def dotted(code: str) -> str:
    """A code as it is published: ``"4019"`` is 401.9, ``"V3001"`` V30.01, ``"E8788"`` E878.8, ``"311"`` 311."""
    category = 4 if code.startswith("E") else 3
    return f"{code[:category]}.{code[category:]}" if len(code) > category else code
