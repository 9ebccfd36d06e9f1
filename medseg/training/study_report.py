"""What a study found: scores of every row under one protocol, as csv, Markdown and a figure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config import Blend
from medseg.data.samples import Sample, load_data, select, split_hash
from medseg.evaluation.conventions import MEAN_IOU, pooled_mean_iou
from medseg.evaluation.evaluate import EQUAL, MEMBER_THRESHOLD
from medseg.evaluation.rows import EMPTY, PRIOR, Evaluation, location_prior, plain_estimate
from medseg.inference.ensemble import Ensemble
from medseg.inference.record import versions
from medseg.inference.runtime import choose_device
from medseg.intervals import Estimate, mean_interval
from medseg.metrics import Confusion, Overlap, pooled_interval
from medseg.progress import Bar
from medseg.report.csv import write_csv

SEARCHED = "searched weights"
OVERLAPS: tuple[Overlap, ...] = ("dice", "iou", "precision", "recall", "accuracy")
PER_IMAGE, POSITIVES, POOLED = "per image", "per image with a finding", "pooled"
Predictor = Callable[[Any], Any]


def score(folder: Path, members: Sequence[Path], stackers: Sequence[Path], output: Path) -> None:
    """Score baselines, `members`, blends and `stackers` on the test split; rows.json comes into the folder `output`.

    `folder` is the study's; members and stackers are the folders that their trainings wrote.

    Members, equal weights and stackers are taken at threshold 0.5, the searched weights at the threshold found with
    them; each image on its own grid; no test-time augmentation.
    """
    data = load_data(folder / "samples.json")
    labels, test = data.labels, select(data.samples, "test")
    prior = location_prior(select(data.samples, "train"), labels)
    predictors = _predictors(folder, members, stackers)
    scores = Evaluation(labels)
    for sample in Bar(test, desc="scoring"):
        image, truth = sample.read(labels)
        scores.cases.append(sample.case)
        scores.add(EMPTY, np.zeros_like(truth), truth, image)
        scores.add(PRIOR, prior.masks(image.size), truth, image)
        for row, predict in predictors.items():
            scores.add(row, predict(image).masks, truth, image)
    rows = {row: estimates(scores.confusions[row][labels[0]], scores.cases) for row in scores.confusions}
    output.mkdir(exist_ok=True)
    text = json.dumps(_stamped(rows), indent=1, ensure_ascii=False, allow_nan=False)
    (output / "rows.json").write_text(text + "\n", encoding="utf-8")


def _predictors(folder: Path, members: Sequence[Path], stackers: Sequence[Path]) -> dict[str, Predictor]:
    """Row → what predicts it. The probabilities of a member are cached: it runs once an image, in whichever rows it
    is."""

    def at_half(ensemble: Ensemble, weights: list[float] | None = None, blend: Blend | None = None) -> Predictor:
        return lambda image: ensemble.predict(image, weights=weights, blend=blend, threshold=MEMBER_THRESHOLD)

    alone = {path.name: Ensemble.from_pretrained(path / "member") for path in members}
    rows: dict[str, Predictor] = {name: at_half(ensemble) for name, ensemble in alone.items()}
    blend = Ensemble.from_pretrained(folder / "ensemble")
    if len(blend.members) > 1:
        equal = [1.0] * len(blend.members)
        rows[EQUAL] = at_half(blend, equal)
        rows[SEARCHED] = blend.predict
    for path in stackers:
        rows[path.name] = at_half(Ensemble.from_pretrained(path / "ensemble"), blend="stacking")
    return rows


def estimates(confusions: Sequence[Confusion], cases: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """{kind: {metric: estimate}} of one row: OVERLAPS, and MEAN_IOU where pixels are pooled.

    POSITIVES is a kind only where some images have no finding: there an empty mask is right, and means over all
    images praise a member that marks little.
    """
    positives = [(c, case) for c, case in zip(confusions, cases, strict=True) if c.positive]
    kinds = {PER_IMAGE: _means(confusions, cases)}
    if 0 < len(positives) < len(cases):
        kinds[POSITIVES] = _means([c for c, _ in positives], [case for _, case in positives])
    kinds[POOLED] = {metric: pooled_interval(confusions, cases, metric) for metric in OVERLAPS}
    kinds[POOLED][MEAN_IOU] = pooled_mean_iou(confusions, cases)
    return kinds


def _means(confusions: Sequence[Confusion], cases: Sequence[str]) -> dict[str, Estimate]:
    return {metric: mean_interval([c.ratio(metric) for c in confusions], cases) for metric in OVERLAPS}


def _stamped(rows: Mapping[str, Any]) -> dict[str, Any]:
    """`rows` as plain values, each kind with where its Dice lies: above, at or under that of the better baseline."""
    baselines = {kind: max(rows[row][kind]["dice"].mean for row in (EMPTY, PRIOR)) for kind in rows[EMPTY]}
    return {
        row: {
            kind: {
                "baseline": _place(values["dice"].mean, baselines[kind]),
                **{metric: plain_estimate(value) for metric, value in values.items()},
            }
            for kind, values in kinds.items()
        }
        for row, kinds in rows.items()
    }


def _place(dice: float, baseline: float) -> str:
    if dice == baseline:
        return "at"
    return "above" if dice > baseline else "under"


def _today(values: dict[str, Any]) -> dict[str, Any]:
    """A part of a rows.json with today's word for what 0.1.0 called the floor."""
    return {"baseline" if name == "floor" else name: value for name, value in values.items()}


def write(folder: Path, scores: Path, trainings: Sequence[Path], study: dict[str, Any]) -> None:
    """table.csv, table.md, figure.png and study.json of the rows in `scores`; the table is printed too.

    `trainings` are the output folders of members and stackers.
    """
    rows = json.loads((scores / "rows.json").read_text(encoding="utf-8"), object_hook=_today)
    samples = load_data(folder / "samples.json").samples
    text = f"{study['title']}\n\n{_tables(rows)}\n\n{study['caption']}\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    _write_csv(rows, folder / "table.csv")
    draw(rows, study["title"], folder / "figure.png")
    record: dict[str, Any] = {
        "study": study,
        "data": _counted(samples),
        "trainings": {path.name: _trained(path) for path in trainings},
    }
    record["ensemble"] = json.loads((folder / "ensemble" / "ensemble.json").read_text(encoding="utf-8"))
    record |= {"versions": versions(), "device": str(choose_device(None))}
    (folder / "study.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{text}\nSaved {folder}/table.md, table.csv, figure.png and study.json")


def _tables(rows: dict[str, Any]) -> str:
    return "\n\n".join(table(rows, kind) for kind in rows[EMPTY])


def table(rows: dict[str, Any], kind: str) -> str:
    """A Markdown table of one kind of `estimates`: means with intervals, rows at or under the baseline stamped."""
    metrics = [name for name in rows[EMPTY][kind] if name != "baseline"]
    first = rows[EMPTY][kind]["dice"]
    lines = [f"| {kind}, {first['n']} images of {first['cases']} cases | {' | '.join(metrics)} |"]
    lines.append("|---" * (len(metrics) + 1) + "|")
    for row, kinds in rows.items():
        place = kinds[kind]["baseline"]
        stamp = "" if place == "above" or row in (EMPTY, PRIOR) else f" ({place} the baseline)"
        lines.append(f"| {row}{stamp} | {' | '.join(_cell(kinds[kind][metric]) for metric in metrics)} |")
    return "\n".join(lines)


def _cell(value: dict[str, float | None]) -> str:
    mean, low, high = ("–" if (v := value[name]) is None else f"{v:.3f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _write_csv(rows: dict[str, Any], path: Path) -> None:
    lines = (
        [
            row,
            kind,
            metric,
            *[metrics[metric][name] for name in ("mean", "low", "high", "n", "cases")],
            metrics["baseline"],
        ]
        for row, kinds in rows.items()
        for kind, metrics in kinds.items()
        for metric in (name for name in metrics if name != "baseline")
    )
    write_csv(path, ["row", "kind", "metric", "mean", "low", "high", "n", "cases", "baseline"], lines)


def draw(rows: dict[str, Any], title: str, path: Path) -> None:
    """Dice of each row, a panel for each kind, as a dot with its interval; the better baseline as a line."""
    from matplotlib.figure import Figure

    shown = list(rows[EMPTY])
    figure = Figure(figsize=(2 + 4 * len(shown), 1.2 + 0.35 * len(rows)), layout="constrained")
    figure.suptitle(title)
    for axes, kind in zip(figure.subplots(1, len(shown), sharey=True), shown, strict=True):
        values = [kinds[kind]["dice"] for kinds in rows.values()]
        means = [value["mean"] for value in values]
        ends = [[value["mean"] if value[end] is None else value[end] for value in values] for end in ("low", "high")]
        axes.hlines(range(len(rows)), *ends, color="tab:blue")
        axes.plot(means, range(len(rows)), "o", color="tab:blue")
        axes.axvline(max(rows[row][kind]["dice"]["mean"] for row in (EMPTY, PRIOR)), color="tab:red", linestyle="--")
        axes.set(xlim=(-0.02, 1.02), xlabel=f"Dice, {kind}; dashed: the baseline", yticks=range(len(rows)))
        axes.set_yticklabels(list(rows))
    axes.invert_yaxis()
    figure.savefig(path, dpi=100)


def _counted(samples: Sequence[Sample]) -> dict[str, Any]:
    counts = {split: sum(sample.split == split for sample in samples) for split in ("train", "val", "test")}
    return {**counts, "split_sha256": split_hash(samples)}


def _trained(output: Path) -> dict[str, Any]:
    """What a training took and reached; an epoch that a kill made run again counts as it ended."""
    member = json.loads((output / "member" / "member.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    epochs = {line["epoch"]: line["seconds"] for line in lines}
    return {
        "files": member["files"],
        "scores": member["scores"],
        "epochs": len(epochs),
        "seconds": round(sum(epochs.values()), 1),
    }
