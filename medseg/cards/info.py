"""What an ensemble or a member is, in words: from its JSON files and the hashes of what lies beside them.

No network is built, and nothing is asked of the Hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from medseg import config, schema
from medseg.config import EnsembleConfig, MemberConfig, MemberReference, StackerReference
from medseg.hub.cache import has_digest
from medseg.hub.folders import GRAPH, WEIGHTS, is_described, member_files, read_settings
from medseg.report.words import of_today, score_words, threshold_words, weight_words


def describe(folder: Path) -> tuple[str, bool]:
    """What the ensemble or member folder is, as lines of text, and whether every file has its promised hash.

    Said are task, labels, blend, threshold, clean-up, how the weights were fitted, and for each member its weight,
    network, data, licences, size, hashes and scores. Raises ConfigError for JSON that breaks its schema.
    """
    settings, root = config.load_ensemble(folder)
    networks = [_network(root, reference) for reference in (*settings.members, settings.stacker) if reference]
    lines = [*_ensemble(settings), *(line for lines, _ in networks for line in lines)]
    return "\n".join(lines), all(intact for _, intact in networks)


def _ensemble(settings: EnsembleConfig) -> Iterator[str]:
    yield f"{settings.name}: {settings.task}, {', '.join(settings.labels)}"
    members = "1 member" if len(settings.members) == 1 else f"{len(settings.members)} members"
    cleanup = [f"{name} {value}" for name, value in asdict(settings.cleanup).items() if value]
    yield (
        f"{members}, blend {settings.blend}, threshold {threshold_words(settings.threshold)}, "
        f"clean-up {', '.join(cleanup) or 'none'}"
    )
    if settings.fitted:
        yield f"weights: {settings.fitted.chosen}, chosen on {of_today(settings.fitted.data)}"
        yield f"    {score_words(getattr(settings.fitted, settings.fitted.chosen.replace(' ', '_')))}"


def _network(root: Path, reference: MemberReference | StackerReference) -> tuple[list[str], bool]:
    """The lines of one member or of the stacker, and whether its files are what they should be."""
    weight = f"weight {weight_words(reference)}" if isinstance(reference, MemberReference) else "the stacker"
    head = ["", f"{reference.source}: {weight}", f"    member.json sha256 {reference.sha256}"]
    if isinstance(reference, MemberReference) and reference.revision is not None:
        return [*head, f"    on the Hub: {reference.source}@{reference.revision}"], True
    folder = root / reference.source
    if not is_described(folder, reference.sha256):
        return [*head, "    DAMAGED: its member.json is missing, or is not what ensemble.json promises"], False
    member = schema.load(MemberConfig, folder / "member.json")
    damaged = [name for name in member_files(folder)[1:] if not has_digest(folder / name, member.files.get(name, ""))]
    if damaged:
        return [*head, f"    DAMAGED: {', '.join(damaged)} missing, or not what member.json promises"], False
    return [*head, *_member(member, folder)], True


def _member(member: MemberConfig, folder: Path) -> Iterator[str]:
    network = read_settings(folder / "config.json")
    encoder = network.get("encoder_name")
    size = (folder / WEIGHTS).stat().st_size / 1e6
    yield f"    {network.get('_model_class')}{f' on {encoder}' if encoder else ''}, {size:.1f} MB, files intact"
    channels = f"{member.preprocess.channels} channel{'s' if member.preprocess.channels > 1 else ''}"
    yield f"    sees {member.preprocess.height} × {member.preprocess.width} pixels, {channels}"
    on_cpu = "ONNX Runtime, without torch" if GRAPH in member.files else f"torch, since it has no {GRAPH}"
    yield f"    runs on a CPU with {on_cpu}"
    data = member.training_data
    yield f"    weights {member.weights_licence}; trained on {of_today(data.name)} ({data.licence})"
    for name, digest in member.files.items():
        yield f"    {name} sha256 {digest}"
    for score in member.scores:
        yield f"    {score_words(score)}"
