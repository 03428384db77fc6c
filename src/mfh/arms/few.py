"""The arms of a study with few labels and many pairs."""

from dataclasses import replace

from mfh.arms.arm import SEARCHED, STACK, TEACHERS, Arm, Look, Question
from mfh.arms.built_in import BUILT_IN

_BUILT_IN = {arm.name: arm for arm in BUILT_IN}

FEW = (
    replace(
        _BUILT_IN["no-kd"],
        words="the labels that are there, no teacher; smoothing and weight decay tuned",
        question=Question(
            asks="Do teachers help?",
            better="Yes: imitating the stack of teachers beats learning from the same labels alone.",
            same="No: the labels alone do as well.",
            worse="No: the labels alone do better, so these teachers do harm.",
        ),
    ),
    replace(
        _BUILT_IN["self"],
        teacher="self",
        words="self-training: as many tuned networks that see {student} as the stack has teachers",
        question=Question(
            asks="Is the second modality needed?",
            better="Yes: teachers that see the student's modality alone teach less.",
            same="No: teachers that see the student's modality alone do as well.",
            worse="No: teachers that see the student's modality alone do better.",
        ),
    ),
    replace(
        _BUILT_IN["regular"],
        question=Question(
            asks="Is the stack better than the regular teacher alone?",
            better="Yes: the regular teacher alone teaches less.",
            same="No: the regular teacher alone does as well.",
            worse="No: the regular teacher alone does better.",
        ),
    ),
    Arm(
        name="fused",
        teacher="fused",
        words=TEACHERS["fused"].words,
        look=Look(color="purple", marker="P"),
        question=Question(
            asks="Is the stack better than one teacher of both modalities?",
            better="Yes: the teacher of both alone teaches less.",
            same="No: the teacher of both alone does as well.",
            worse="No: the teacher of both alone does better.",
        ),
    ),
    replace(
        _BUILT_IN["joint"],
        question=Question(
            asks="Is the stack better than the joint teacher alone?",
            better="Yes: the joint teacher alone teaches less.",
            same="No: the joint teacher alone does as well.",
            worse="No: the joint teacher alone does better.",
        ),
    ),
    Arm(
        name=STACK,
        teacher=STACK,
        words=TEACHERS[STACK].words,
        look=Look(color="blue", marker="*"),
    ),
    Arm(
        name="hard",
        teacher=STACK,
        output="hardened",
        words="the class that the stack predicts",
        look=Look(color="blue", marker="x", dashes=(2, 2)),
        question=Question(
            asks="Do soft outputs teach more than the predicted class?",
            better="Yes: the predicted class alone teaches less.",
            same="No: the predicted class alone does as well.",
            worse="No: the predicted class alone does better.",
        ),
    ),
    replace(
        _BUILT_IN["mismatched"],
        teacher=STACK,
        words="the stack, its outputs shuffled among samples of the same predicted class",
        question=Question(
            asks="Does it matter which sample an output belongs to?",
            better="Yes: outputs swapped within a predicted class do worse: more than the class is taught.",
            same="No: outputs swapped within a predicted class do as well: the class is what is taught.",
            worse="No: outputs swapped within a predicted class do better.",
        ),
    ),
    Arm(
        name="broken",
        teacher=STACK,
        output="broken",
        words="the stack, its outputs shuffled among all samples",
        look=Look(color="muted", marker="x"),
        question=Question(
            asks="Are the pairs needed?",
            better="Yes: outputs of other samples teach less.",
            same="No: outputs of other samples do as well, so something is wrong with this study.",
            worse="No: outputs of other samples do better, so something is wrong with this study.",
        ),
    ),
    Arm(
        name="oracle",
        hidden_labels=True,
        words="all labels, the hidden ones too",
        look=Look(color="orange", marker="^", dashes=(1, 1.2)),
        question=Question(
            asks="Is it as good as having all labels?",
            better="Better: all labels teach less than the stack.",
            same="Yes: all labels do as well.",
            worse="No: all labels teach more.",
        ),
    ),
    replace(
        _BUILT_IN["general"],
        question=Question(
            asks="Is the stack better than the focused teacher?",
            better="Yes: the focused teacher teaches less.",
            same="No: the focused teacher does as well.",
            worse="No: the focused teacher does better.",
        ),
    ),
    *(_BUILT_IN[name] for name in ("important", "softened", "random", "specific")),
)
"""They are shown in this order. Their questions are those of `stack`, but for arms with a ratio, which are
compared with `general`."""

SEARCH_ARMS = (
    replace(
        _BUILT_IN["no-kd"],
        words="the best recipe without a teacher, searched with the same budget",
        question=Question(
            asks="Do teachers help?",
            better="Yes: the best recipe with a teacher beats the best one without.",
            same="No: the best recipe without a teacher does as well.",
            worse="No: the best recipe without a teacher does better.",
        ),
    ),
    replace(
        next(arm for arm in FEW if arm.name == STACK),
        words="the stack of all teachers by its fixed recipe, nothing searched",
        look=Look(color="green", marker="*"),
        question=Question(
            asks="Is the search better than one fixed recipe?",
            better="Yes: the stack with its fixed recipe does worse.",
            same="No: the stack with its fixed recipe does as well.",
            worse="No: the stack with its fixed recipe does better.",
        ),
    ),
    Arm(
        name=SEARCHED,
        teacher=STACK,
        words="the recipe that the search took, with a teacher or without one",
        look=Look(color="blue", marker="D"),
    ),
)
"""The arms of a search, in the order in which they are shown; questions are those of `searched`."""
