"""What the terms of the analysis mean, and what helps: a sentence each."""

ERRORS = {
    "classification": (
        "the box is right, the class is not",
        "Look whether people could tell these classes apart at the input size; more pictures of the confused classes, "
        "a larger --size, or class weights help.",
    ),
    "localisation": (
        "the class is right, the box overlaps its object too little",
        "Longer training, a larger --size or the GIoU loss make boxes tighter; look whether the labels themselves are "
        "drawn in one manner.",
    ),
    "both": (
        "neither class nor box is right",
        "Few of these can be mended directly: they follow the other kinds.",
    ),
    "duplicate": (
        "the object was found already by a better box",
        "Lower model.detections.nms, so that more boxes of one object are suppressed.",
    ),
    "background": (
        "nothing is labelled there",
        "First look whether labels are missing there; then add pictures without objects, and pictures of what is "
        "taken for one.",
    ),
    "missed": (
        "no detection comes near it",
        "See below which stage lost these objects: that says what to change.",
    ),
}
"""Of each kind of error: what it is, and what helps."""

STAGES = {
    "no anchor": "Add anchor sizes or ratios near these objects: model.rpn.anchor_sizes, model.rpn.anchor_ratios.",
    "anchor moved off": "The RPN needs longer training, or anchors nearer to these objects.",
    "low objectness": "Raise model.rpn.before, train longer, or show more pictures of such objects.",
    "proposal too small": "Use a larger --size, so that these objects are not so small.",
    "proposal suppressed": "Raise model.rpn.nms, where objects stand close together.",
    "proposal cut": "Raise model.rpn.after: more proposals reach the head.",
    "not proposed": "Make more regions, or those of another method: rcnn propose --recall shows what they cover.",
    "misclassified": "Where another class scored higher, look at the confusions below; where the background did, more "
    "pictures of such objects and longer training help.",
    "bad box": "Longer training or a larger --size make boxes tighter.",
    "under threshold": "Show them by a lower threshold: --threshold-for recall=R finds it for each class.",
    "suppressed": "Raise model.detections.nms, where objects of a class overlap each other.",
    "cut": "Raise model.detections.maximum: these pictures hold more objects than are kept.",
    "claimed": "Objects that stand this close share one detection; a larger --size tells them apart.",
}
"""What helps against each loss."""

SUSPICIONS = {
    "missing": "an object that is not labelled",
    "loose": "a label whose box is drawn loosely",
    "wrong class": "a label of the wrong class",
    "spurious": "a label on nothing",
}
