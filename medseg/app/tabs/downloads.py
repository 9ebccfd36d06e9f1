"""Results as files: one list of formats, each written when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from medseg.app.server.upload_folder import result_path
from medseg.app.state.session import Session
from medseg.app.state.view_state import ViewState
from medseg.app.tabs.dicom_formats import write_capture, write_map, write_seg
from medseg.app.tabs.events import PRIVATE, QUIET, refusal
from medseg.calibration.judgement import judged
from medseg.export.npz import write_probabilities
from medseg.export.png import write_mask
from medseg.inference.record import write_report

SAVE = "file => Object.assign(document.createElement('a'), {href: file.url, download: file.orig_name}).click()"


@dataclass(frozen=True)
class Format:
    """One choice: its `label`, one `line` on what it is, the file's name, and what writes it."""

    label: str
    line: str
    file: str
    write: Callable[[ViewState, Path], None]


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
        view_state.prediction, path, judged(view_state.calibration, view_state.prediction, view_state.domain_warnings)
    )


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
    "mask-seg": Format("Mask · DICOM SEG", _IDENTIFIES, "medseg-mask.dcm", write_seg("BINARY")),
    "label-map-seg": Format(
        "Mask · DICOM label map",
        f"Of labels that do not overlap, for newer viewers. {_IDENTIFIES}",
        "medseg-label-map.dcm",
        write_seg("LABELMAP"),
    ),
    "capture": Format(
        "Image with outlines · DICOM capture",
        f"For archives that show no SEG: outlines and areas burnt in. {_IDENTIFIES}",
        "medseg-capture.dcm",
        write_capture,
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
    ),
    "probabilities-map": Format(
        "Probabilities · DICOM parametric map",
        f"Floats, of an ensemble with one label. {_IDENTIFIES}",
        "medseg-map.dcm",
        write_map,
    ),
    "report": Format(
        "Report · JSON",
        "Models, weights, settings and hashes, for programs.",
        "medseg-report.json",
        lambda view_state, path: write_report(view_state.prediction.report(), path),
    ),
    "page": Format("Report · page (HTML)", "The same with images, to read and print.", "medseg-report.html", _page),
}


def write(session: Session, name: str, view_state: ViewState | None = None) -> Path:
    """The file of the format `name` for `view_state`, or the present one of `session`; it goes with the session. Raises
    MedsegError where the image cannot have it."""
    chosen = FORMATS[name]
    path = result_path(chosen.file, session)
    chosen.write(view_state or session.view_state, path)
    return path


@refusal
def save(session: Session, name: str) -> str:
    return str(write(session, name))


def draw_downloads(session: gr.State) -> None:
    """A list of formats with a line on the chosen one, and a button that writes the file and then saves it: never one
    that was written before."""
    with gr.Row(equal_height=True, elem_classes="downloads"):
        choices = [(choice.label, name) for name, choice in FORMATS.items()]
        chosen = gr.Dropdown(
            choices, value="mask", label="Result as a file", info=FORMATS["mask"].line, scale=4, elem_id="format"
        )
        asked = gr.Button("Download", size="sm", scale=0, min_width=110, elem_id="download")
    file = gr.DownloadButton(visible="hidden")
    chosen.change(lambda name: gr.update(info=FORMATS[name].line), chosen, chosen, **QUIET)
    written = asked.click(save, [session, chosen], file, **PRIVATE)
    written.success(None, file, None, js=SAVE, **PRIVATE)
