"""What each ensemble is made for, trained on and worth, from the JSON files of its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medseg import config, schema
from medseg.app.render.text import plain
from medseg.config import MemberConfig
from medseg.errors import MedsegError
from medseg.report.words import of_today, score_words

if TYPE_CHECKING:
    from medseg.config import EnsembleConfig

NOTICE = (
    "Research use only, not for diagnosis. Each ensemble was trained on one data set: other devices, sites, "
    "populations and findings give other results."
)


def about(sources: Mapping[str, Path | str]) -> str:
    """Every ensemble of `sources` (a folder, or a Hub repository, by its name) as Markdown."""
    return "\n\n".join([NOTICE, *(_about(name, source) for name, source in sources.items())])


def _about(name: str, source: Path | str) -> str:
    head = f"## {plain(name)}"
    if isinstance(source, str):
        return f"{head}\n\nIt comes from the Hugging Face Hub, where its card says what it is."
    try:
        return "\n\n".join([head, *_of_folder(source)])
    except (MedsegError, OSError) as error:
        return f"{head}\n\n{plain(str(error))}"


def _of_folder(folder: Path) -> Iterator[str]:
    settings, root = config.load_ensemble(folder)
    own = [root / reference.source for reference in settings.members if reference.revision is None]
    members = [schema.load(MemberConfig, path / "member.json") for path in own]
    yield f"It finds **{plain(', '.join(settings.labels))}**, by {len(settings.members)} models."
    if len(own) < len(settings.members):
        yield f"{len(settings.members) - len(own)} of them lie on the Hugging Face Hub, with a card each."
    if members:
        data = members[0].training_data
        yield f"Made for {plain(of_today(data.pictures) or f'images like those of {of_today(data.name)}')}."
        yield f"Trained on {plain(of_today(data.name))}, licence {plain(data.licence)}. {plain(data.citation)}"
        yield "\n".join(
            f"- {plain(member.name)}, licence of its weights {member.weights_licence}" for member in members
        )
    yield from _scores(folder / "scores.json", settings, members)


def _scores(path: Path, settings: EnsembleConfig, members: list[MemberConfig]) -> Iterator[str]:
    """The tables of `medseg evaluate`; without them what the members' own JSON says."""
    from medseg.cards.folder import read_scores  # which imports what evaluation needs: seconds, at a start

    report, tables = read_scores(path, settings)
    if report is None:
        yield "It was not scored on a test split. Of its models is known:"
        yield "\n".join(f"- {plain(f'{m.name}: {score_words(score)}')}" for m in members for score in m.scores)
        return
    for label, table in zip(settings.labels, tables, strict=True):
        yield f"**{plain(label)}** on the {report['split']} split, n = {report['n']}; in brackets 95 % intervals:"
        yield table.replace("| |", "| Mask |", 1)
    yield f"Protocol: {plain(report['protocol'])}."
