"""The hospitals that write the synthetic notes: whom they treat, in what order they write, how they shorten words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# The headers of each section, written out and shortened.
HEADERS = {
    "complaint": ("chief complaint", "cc"),
    "present": ("history of present illness", "hpi"),
    "history": ("past medical history", "pmh"),
    "medications": ("medications", "meds"),
    "allergies": ("allergies", "all"),
    "family": ("family history", "fh"),
    "social": ("social history", "sh"),
    "examination": ("physical examination", "pe"),
    "laboratory": ("laboratory data", "labs"),
    "imaging": ("imaging", "img"),
    "course": ("hospital course", "hc"),
    "assessment": ("assessment", "a"),
    "plan": ("plan", "p"),
    "disposition": ("disposition", "dispo"),
}

# Every shorthand a hospital may use; each hospital takes some. Several short forms collide, as they do on the wards.
SHORTHAND = {
    "shortness of breath": "sob",
    "chest pain": "cp",
    "abdominal pain": "abd pain",
    "nausea and vomiting": "n/v",
    "hypertension": "htn",
    "coronary artery disease": "cad",
    "congestive heart failure": "chf",
    "atrial fibrillation": "afib",
    "myocardial infarction": "mi",
    "diabetes mellitus": "dm",
    "type 2 diabetes": "dm2",
    "chronic obstructive pulmonary disease": "copd",
    "gastroesophageal reflux disease": "gerd",
    "urinary tract infection": "uti",
    "chronic kidney disease": "ckd",
    "end stage renal disease": "esrd",
    "deep venous thrombosis": "dvt",
    "pulmonary embolism": "pe",
    "physical examination": "pe",
    "multiple sclerosis": "ms",
    "morphine sulfate": "ms",
    "mental status": "ms",
    "prothrombin time": "pt",
    "physical therapy": "pt",
    "the patient": "pt",
    "rheumatoid arthritis": "ra",
    "room air": "ra",
    "mitral regurgitation": "mr",
    "parkinson's disease": "pd",
    "peritoneal dialysis": "pd",
    "pneumocystis pneumonia": "pcp",
    "primary care physician": "pcp",
    "carotid endarterectomy": "cea",
    "total bilirubin": "tb",
    "tuberculosis": "tb",
    "radiation therapy": "rt",
    "right": "rt",
    "left": "lt",
    "blood sugar": "bs",
    "emergency room": "ed",
    "chest x-ray": "cxr",
    "echocardiogram": "echo",
    "electrocardiogram": "ecg",
    "coronary artery bypass grafting": "cabg",
    "blood pressure": "bp",
    "heart rate": "hr",
    "respiratory rate": "rr",
    "temperature": "temp",
    "oxygen saturation": "o2 sat",
    "oxygen": "o2",
    "white blood cell count": "wbc",
    "hemoglobin": "hgb",
    "hematocrit": "hct",
    "platelets": "plt",
    "potassium": "k",
    "sodium": "na",
    "magnesium": "mg",
    "calcium": "ca",
    "creatinine": "cr",
    "ultrasound": "us",
    "antibiotics": "abx",
    "chemotherapy": "chemo",
    "hemodialysis": "hd",
    "history of": "h/o",
    "complains of": "c/o",
    "status post": "s/p",
    "rule out": "r/o",
    "no evidence of": "neg for",
    "year old": "yo",
    "twice a day": "bid",
    "three times a day": "tid",
    "daily": "qd",
    "as needed": "prn",
    "by mouth": "po",
    "at bedtime": "qhs",
    "with": "w/",
    "without": "w/o",
    "secondary to": "2/2",
    "follow up": "f/u",
    "treatment": "tx",
    "diagnosed": "dx",
    "discharged": "d/c'd",
    "bilateral": "b/l",
}


@dataclass(frozen=True)
class Hospital:
    """One hospital's way of writing.

    Attributes:
        name: what ``group`` says.
        patients: relative weight of each specialty among its patients; specialties not named weigh ``other``.
        sections: the sections of a full note in its order, with the usual number of sentences of each.
        headers: how headers look: ``title``, ``upper``, ``lower`` or ``short`` (initials, as in ``HPI``).
        case: how text is written: ``sentence``, ``upper`` or ``lower``.
        shorthand: probability that a phrase of :data:`SHORTHAND` is shortened.
        misspelling: factor on the corpus's rate of misspelt words.
        terse: probability that a clause loses its subject and articles outside entities.
        children: whether the patients are children.
        ambiguous: share of sentences built on a word of several meanings.
        other: weight of the specialties not named in ``patients``.
    """

    name: str
    patients: Mapping[str, float]
    sections: Mapping[str, int]
    headers: Literal["title", "upper", "lower", "short"] = "title"
    case: Literal["sentence", "upper", "lower"] = "sentence"
    shorthand: float = 0.0
    misspelling: float = 1.0
    terse: float = 0.0
    children: bool = False
    ambiguous: float = 0.25
    other: float = 1.0


HOSPITALS = (
    Hospital(
        name="Northgate General",
        patients={},
        sections={
            "complaint": 1,
            "present": 5,
            "history": 3,
            "medications": 3,
            "allergies": 1,
            "social": 1,
            "family": 1,
            "examination": 3,
            "laboratory": 2,
            "imaging": 2,
            "assessment": 1,
            "plan": 3,
        },
        shorthand=0.25,
    ),
    Hospital(
        name="Saint Anselm Heart Institute",
        patients={"cardiology": 12, "pulmonology": 3, "nephrology": 2, "endocrinology": 2},
        sections={
            "complaint": 1,
            "history": 3,
            "present": 4,
            "allergies": 1,
            "medications": 2,
            "examination": 4,
            "laboratory": 4,
            "imaging": 4,
            "course": 4,
            "disposition": 1,
        },
        headers="short",
        shorthand=0.7,
        misspelling=0.5,
        terse=0.1,
    ),
    Hospital(
        name="Lakeview Cancer Center",
        patients={"oncology": 14, "gastroenterology": 2, "pulmonology": 2, "infectious disease": 2},
        sections={
            "present": 5,
            "history": 2,
            "medications": 4,
            "social": 1,
            "examination": 2,
            "imaging": 4,
            "laboratory": 2,
            "assessment": 2,
            "plan": 5,
        },
        headers="upper",
        shorthand=0.15,
        misspelling=0.5,
    ),
    Hospital(
        name="Prairie County Hospital",
        patients={"orthopedics": 5, "infectious disease": 4, "pulmonology": 3, "psychiatry": 2},
        sections={
            "complaint": 2,
            "present": 5,
            "examination": 5,
            "history": 2,
            "medications": 1,
            "assessment": 4,
            "plan": 3,
        },
        headers="lower",
        case="lower",
        shorthand=0.85,
        misspelling=2.5,
        terse=0.5,
        ambiguous=0.3,
    ),
    Hospital(
        name="Harbor University Medical Center",
        patients={"neurology": 5, "nephrology": 5, "gastroenterology": 4, "endocrinology": 3},
        sections={
            "history": 3,
            "medications": 5,
            "allergies": 1,
            "present": 5,
            "family": 2,
            "examination": 3,
            "laboratory": 4,
            "imaging": 2,
            "course": 6,
            "disposition": 2,
        },
        headers="upper",
        case="upper",
        shorthand=0.4,
        ambiguous=0.3,
    ),
    Hospital(
        name="Willow Children's Hospital",
        patients={"infectious disease": 7, "pulmonology": 6, "neurology": 4, "orthopedics": 3, "endocrinology": 2},
        sections={
            "complaint": 1,
            "present": 6,
            "family": 2,
            "allergies": 1,
            "social": 1,
            "examination": 4,
            "assessment": 3,
            "plan": 3,
        },
        shorthand=0.1,
        children=True,
        other=0.5,
    ),
    Hospital(
        name="Riverbend Behavioral Health",
        patients={"psychiatry": 12, "neurology": 4, "endocrinology": 2, "gastroenterology": 1},
        sections={
            "complaint": 1,
            "present": 6,
            "history": 3,
            "social": 3,
            "family": 2,
            "medications": 5,
            "assessment": 2,
            "plan": 3,
        },
        shorthand=0.3,
        misspelling=1.5,
        terse=0.2,
        other=0.6,
    ),
    Hospital(
        name="Memorial Bone and Kidney Clinic",
        patients={"orthopedics": 8, "nephrology": 8, "endocrinology": 3, "cardiology": 2},
        sections={
            "complaint": 1,
            "present": 4,
            "imaging": 3,
            "laboratory": 3,
            "examination": 3,
            "history": 2,
            "course": 5,
            "plan": 4,
        },
        headers="short",
        shorthand=0.55,
        misspelling=1.5,
        terse=0.15,
        other=0.5,
    ),
)
