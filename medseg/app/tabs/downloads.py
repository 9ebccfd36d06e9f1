"""Results as files: one list of formats, each written when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medseg.app.server.upload_folder import result_path
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import unique
from medseg.app.state.view_state import ViewState
from medseg.app.tabs.dicom_formats import write_capture, write_map, write_seg
from medseg.app.tabs.events import PRIVATE, refusal
from medseg.app.viewer.components import SAVE, WRITTEN, draw_formats
from medseg.calibration.judgement import judged, worth
from medseg.errors import InputError
from medseg.export.npz import write_probabilities
from medseg.export.png import write_mask
from medseg.inference.record import write_report

WITHHELD = "None of the ensembles is made for this image: ask for its mask first."


@dataclass(frozen=True)
class Format:
    """One choice: its `label`, one `line` on what it is, the file's name, what writes it, and the `kind` of the DICOM
    results, which not every image can have."""

    label: str
    line: str
    file: str
    write: Callable[[ViewState, Path], None]
    kind: str = ""

    def why_not(self, session: Session) -> str | None:
        """Why the open image cannot have it."""
        if session.is_empty:
            return "No image is open yet."
        if session.view_state.withheld:
            return WITHHELD
        if not self.kind:
            return None
        from medseg.export.results import why_not

        now = session.view_state
        return why_not(self.kind, now.prediction.labels, *now.place)


def _mask(view_state: ViewState, path: Path) -> None:
    write_mask(view_state.prediction.masks, view_state.prediction.image, path)


def _probabilities(view_state: ViewState, path: Path) -> None:
    prediction = view_state.prediction
    write_probabilities(prediction.probabilities, prediction.labels, prediction.image, path)


# the others bring torch with them, which takes seconds: the page is there before it


def _mask_nifti(view_state: ViewState, path: Path) -> None:
    from medseg.export.nifti import write_mask_nifti

    write_mask_nifti(view_state.prediction, path)


def _probabilities_nifti(view_state: ViewState, path: Path) -> None:
    from medseg.export.nifti import write_probabilities_nifti

    write_probabilities_nifti(view_state.prediction, path)


def _rle(view_state: ViewState, path: Path) -> None:
    from medseg.export.tables import write_rle

    write_rle(view_state.prediction, _name(view_state), path)


def _coco(view_state: ViewState, path: Path) -> None:
    from medseg.export.tables import write_instances

    write_instances(view_state.prediction, _name(view_state), path)


def _page(view_state: ViewState, path: Path) -> None:
    from medseg.report.prediction_page import write_page

    write_page(
        view_state.prediction,
        path,
        judged(view_state.valid_calibration, view_state.prediction, view_state.domain_warnings),
    )


def _report(view_state: ViewState, path: Path) -> None:
    prediction = view_state.prediction
    trust = worth(view_state.ensemble, prediction, view_state.valid_calibration)
    write_report({**prediction.report(), **trust}, path)


def _name(view_state: ViewState) -> str:
    """What tables call the image: its file's name may be a patient's, and is not kept."""
    return view_state.prediction.image.sha256[:16]


_IDENTIFIES = "Of a DICOM image only, and not anonymous: it repeats patient and study, to be filed with them."
_NAMED = "The image is called by the first 16 digits of its hash in the report."

FORMATS = {
    "mask": Format(
        "Mask · PNG", "0 and 255; for several labels a label map, 1 for the first.", "medseg-mask.png", _mask
    ),
    "mask-nifti": Format(
        "Mask · NIfTI", "A label map that lies where the slice of a volume lies.", "medseg-mask.nii.gz", _mask_nifti
    ),
    "mask-rle": Format("Mask · run lengths (csv)", f"As SIIM-ACR has them. {_NAMED}", "medseg-mask.csv", _rle),
    "mask-coco": Format("Mask · COCO (JSON)", f"One instance for each label. {_NAMED}", "medseg-coco.json", _coco),
    "mask-seg": Format("Mask · DICOM SEG", _IDENTIFIES, "medseg-mask.dcm", write_seg("BINARY"), "seg"),
    "label-map-seg": Format(
        "Mask · DICOM label map",
        f"Of labels that do not overlap, for newer viewers. {_IDENTIFIES}",
        "medseg-label-map.dcm",
        write_seg("LABELMAP"),
        "label-map",
    ),
    "capture": Format(
        "Image with outlines · DICOM capture",
        f"For archives that show no SEG: outlines and areas burnt in. {_IDENTIFIES}",
        "medseg-capture.dcm",
        write_capture,
        "capture",
    ),
    "probabilities": Format(
        "Probabilities · npz", "NumPy, half precision, by label.", "medseg-probabilities.npz", _probabilities
    ),
    "probabilities-nifti": Format(
        "Probabilities · NIfTI",
        "Floats that lie where the slice of a volume lies.",
        "medseg-probabilities.nii.gz",
        _probabilities_nifti,
    ),
    "probabilities-seg": Format(
        "Probabilities · DICOM SEG",
        f"In steps of 1/255. {_IDENTIFIES}",
        "medseg-probabilities.dcm",
        write_seg("FRACTIONAL"),
        "probabilities",
    ),
    "probabilities-map": Format(
        "Probabilities · DICOM parametric map",
        f"Floats, of an ensemble with one label. {_IDENTIFIES}",
        "medseg-map.dcm",
        write_map,
        "map",
    ),
    "report": Format(
        "Report · JSON",
        "Models, weights, settings and hashes, for programs.",
        "medseg-report.json",
        _report,
    ),
    "page": Format("Report · page (HTML)", "The same with images, to read and print.", "medseg-report.html", _page),
}


def write(session: Session, name: str, view_state: ViewState | None = None) -> Path:
    """The file of the format `name` for `view_state`, or the present one of `session`; it goes with the session. Raises
    MedsegError where the image cannot have it."""
    chosen, view_state = FORMATS[name], view_state or session.view_state
    if view_state.withheld:
        raise InputError(WITHHELD)
    path = result_path(chosen.file, session)
    chosen.write(view_state, path)
    return path


@refusal
def save(session: Session, name: str) -> list[str]:
    """The file, and what the browser is to call it: the visitor's own name of the image, which is on no disk here."""
    return [str(write(session, name)), file_name(session.view_state, FORMATS[name].file)]


def file_name(view_state: ViewState, file: str) -> str:
    """`medseg-mask.png` of the visitor's `scan.nii.gz` is `scan-mask.png`, of its slice 7 `scan-frame7-mask.png`."""
    if not view_state.called:
        return file
    stem = re.sub(r"(\.nii)?\.[A-Za-z]\w{0,4}$", "", unique([view_state.called])[0])
    image = view_state.prediction.image
    place = f"-frame{image.frame + 1}" if image.frames > 1 else ""
    return f"{stem}{place}-{file.removeprefix('medseg-')}"


def _save_chosen(session: Session, event: gr.EventData) -> list[str]:
    return save(session, str(event._data["kind"]))


def offered(session: Session) -> list[dict[str, str]]:
    """The formats for the list, each with the reason where the open image cannot have it."""
    return [
        {"kind": kind, "label": each.label, "line": each.line, "reason": each.why_not(session) or ""}
        for kind, each in FORMATS.items()
    ]


def draw_downloads(session: gr.State) -> Any:
    """A button for the mask with a list of the other formats, whose value is `offered`. Each file is written when it is
    asked for: never one that was written before."""
    formats = draw_formats()
    file, called = gr.DownloadButton(visible="hidden"), gr.Textbox(visible="hidden")
    written = formats.save(_save_chosen, session, [file, called], **PRIVATE)
    written.success(None, [file, called], None, js=SAVE, **PRIVATE)
    written.then(None, js=WRITTEN, **PRIVATE)
    return formats
