"""The papers' own experiments, each a small file: `--svm`, `--scales` and so on."""

from rcnn.api.compare.studies import layers, multi_task, proposals, rpn, scales, schemes, svd, svm
from rcnn.api.compare.study import Study

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        svm.STUDY,
        scales.STUDY,
        proposals.STUDY,
        multi_task.STUDY,
        layers.STUDY,
        svd.STUDY,
        schemes.STUDY,
        rpn.STUDY,
    )
}
