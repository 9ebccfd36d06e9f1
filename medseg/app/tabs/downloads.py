"""Results as files: one list of formats, each written when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from medseg.app.state.session import Session
from medseg.app.state.trust import judged
from medseg.app.state.view_state import Shown
from medseg.app.tabs.events import PRIVATE, QUIET, refusing
from medseg.errors import InputError
from medseg.export.npz import write_probabilities
from medseg.export.png import write_mask
from medseg.inference.record import write_report

if TYPE_CHECKING:
    from medseg.export.dicom_seg import SegKind

SAVE = "file => Object.assign(document.createElement('a'), {href: file.url, download: file.orig_name}).click()"


@dataclass(frozen=True)
class Format:
    """One choice: its `label`, one `line` on what it is, the file's name, and what writes it."""

    label: str
    line: str
    file: str
    write: Callable[[Shown, Path], None]


def _mask(shown: Shown, path: Path) -> None:
    write_mask(shown.prediction.masks, shown.prediction.image, path)


def _probabilities(shown: Shown, path: Path) -> None:
    found = shown.prediction
    write_probabilities(found.probabilities, found.labels, found.image, path)


# the others bring torch with them, which takes seconds: the page is there before it


def _mask_nifti(shown: Shown, path: Path) -> None:
    from medseg.export.nifti import write_mask_nifti

    write_mask_nifti(shown.prediction, path)


def _probabilities_nifti(shown: Shown, path: Path) -> None:
    from medseg.export.nifti import write_probabilities_nifti

    write_probabilities_nifti(shown.prediction, path)


def _rle(shown: Shown, path: Path) -> None:
    from medseg.export.tables import write_rle

    write_rle(shown.prediction, _name(shown), path)


def _coco(shown: Shown, path: Path) -> None:
    from medseg.export.tables import write_instances

    write_instances(shown.prediction, _name(shown), path)


def _page(shown: Shown, path: Path) -> None:
    from medseg.report.prediction_page import write_page

    write_page(shown.prediction, path, judged(shown.calibration, shown.prediction, shown.doubts))


def _dicom_seg(kind: SegKind) -> Callable[[Shown, Path], None]:
    def write_seg(shown: Shown, path: Path) -> None:
        from medseg.export.dicom_seg import write_dicom_seg

        if not shown.path.exists():
            raise InputError("The picture's file has been deleted here after a while: open it again for a DICOM SEG.")
        write_dicom_seg([shown.prediction], shown.path, path, kind=kind)

    return write_seg


def _name(shown: Shown) -> str:
    """What tables call the picture: its file's name may be a patient's, and is not kept."""
    return shown.prediction.image.sha256[:16]


_IDENTIFIES = "Of a DICOM picture only, and not anonymous: it repeats patient and study, to be filed with them."
_NAMED = "The picture is called by the first 16 digits of its hash in the report."

FORMATS = {
    "mask": Format(
        "Mask · PNG", "0 and 255; for several labels a label map, 1 for the first.", "medseg-mask.png", _mask
    ),
    "mask-nifti": Format(
        "Mask · NIfTI", "A label map that lies where the slice of a volume lies.", "medseg-mask.nii.gz", _mask_nifti
    ),
    "mask-rle": Format("Mask · run lengths (csv)", f"As SIIM-ACR has them. {_NAMED}", "medseg-mask.csv", _rle),
    "mask-coco": Format("Mask · COCO (JSON)", f"One instance for each label. {_NAMED}", "medseg-coco.json", _coco),
    "mask-seg": Format("Mask · DICOM SEG", _IDENTIFIES, "medseg-mask.dcm", _dicom_seg("BINARY")),
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
        _dicom_seg("FRACTIONAL"),
    ),
    "report": Format(
        "Report · JSON",
        "Models, weights, settings and hashes, for programs.",
        "medseg-report.json",
        lambda shown, path: write_report(shown.prediction.report(), path),
    ),
    "page": Format("Report · page (HTML)", "The same with pictures, to read and print.", "medseg-report.html", _page),
}


def write(session: Session, name: str) -> Path:
    """The file of the format `name` for what `session` shows. Raises MedsegError where the picture cannot have it."""
    chosen = FORMATS[name]
    path = session.folder() / chosen.file
    chosen.write(session.shown, path)
    return path


@refusing
def save(session: Session, name: str) -> str:
    return str(write(session, name))


def draw_downloads(session: gr.State) -> None:
    """A list of formats with a line on the chosen one, and a button that writes the file and then saves it: never one
    that was written before."""
    with gr.Row(equal_height=True, elem_classes="downloads"):
        choices = [(one.label, name) for name, one in FORMATS.items()]
        chosen = gr.Dropdown(
            choices, value="mask", label="Result as a file", info=FORMATS["mask"].line, scale=4, elem_id="format"
        )
        asked = gr.Button("Download", size="sm", scale=0, min_width=110, elem_id="download")
    file = gr.DownloadButton(visible="hidden")
    chosen.change(lambda name: gr.update(info=FORMATS[name].line), chosen, chosen, **QUIET)
    written = asked.click(save, [session, chosen], file, **PRIVATE)
    written.success(None, file, None, js=SAVE, **PRIVATE)
