"""Teachers of parsers, classifiers and taggers: fine-tune an encoder, let it label texts.

from pqrnn_native.train.teaching import FineTunedTeacher, fine_tune, label

fine_tune("encoders/e5-small", "mtop:DIR", out="teacher")
labelled = label([FineTunedTeacher("teacher")], texts)
labelled.soft.save("soft.npz")  # for fit(soft_labels=...)
"""

from __future__ import annotations

from .ensemble import Ensemble
from .labelling import Labelled, label
from .prediction import LabelTeacher, Prediction
from .teacher import FineTunedTeacher, ModelTeacher, load_label_teacher
from .tuning import TuneResult, fine_tune

__all__ = [
    "Ensemble",
    "FineTunedTeacher",
    "LabelTeacher",
    "Labelled",
    "ModelTeacher",
    "Prediction",
    "TuneResult",
    "fine_tune",
    "label",
    "load_label_teacher",
]
