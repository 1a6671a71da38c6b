"""`graphexec caption`: caption files for a folder of pictures."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from graphexec.cli.exits import ExitCode
from graphexec.cli.options import DEVICE, FILE, bundled
from graphexec.cli.terminal import is_watched

if TYPE_CHECKING:
    from graphexec.train.captioning.files import CaptionFiles
    from graphexec.train.captioning.run import Captioned, Captioner, Unreadable
    from graphexec.train.captioning.tags import TagRules
    from graphexec.train.captioning.weights import Weights


@dataclass(frozen=True, slots=True)
class Words:
    """How BLIP chooses words."""

    beam_search: bool
    num_beams: int
    top_p: float
    max_length: int
    min_length: int
    seed: int


@dataclass(frozen=True, slots=True)
class Tagging:
    """Which tags WD14 gives, and how they are written."""

    thresh: float
    general_threshold: float | None
    character_threshold: float | None
    undesired_tags: str
    always_first_tags: str
    character_tags_first: bool
    character_tag_expand: bool
    use_rating_tags: bool
    use_rating_tags_as_last_tag: bool
    remove_underscore: bool
    tag_replacement: str
    frequency_tags: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where weights come from, and what computes."""

    weights: Path | None
    repo_id: str | None
    download: bool
    device: str


@dataclass(frozen=True, slots=True)
class Writing:
    """Which pictures get captions, and what becomes of captions that are there."""

    recursive: bool
    caption_extension: str
    caption_separator: str
    prefix: str
    postfix: str
    overwrite: bool
    append_tags: bool
    batch_size: int
    dry_run: bool


def with_dashes(option: str) -> str:
    """An option as it is called here, where kohya's scripts have underscores."""
    return option.replace("_", "-")


def parse_extension(text: str) -> str:
    """A file name's ending with its dot; raises BadParameter for what would lead elsewhere."""
    if not text.strip(".") or set(text) & set("/\\:\0"):
        raise click.BadParameter(f"{text!r} is no ending of a file name")
    return text if text.startswith(".") else f".{text}"


_UNIT = click.FloatRange(0, 1)
_COUNT = click.IntRange(min=1)

word_options = bundled(
    Words,
    click.option("--beam-search", is_flag=True, help="BLIP: the likeliest words, instead of nucleus sampling."),
    click.option("--num-beams", type=_COUNT, default=1, show_default=True, help="BLIP: beams of --beam-search."),
    click.option(
        "--top-p", type=_UNIT, default=0.9, show_default=True, help="BLIP: how likely the words are to sample from."
    ),
    click.option(
        "--max-length",
        type=_COUNT,
        default=75,
        show_default=True,
        help="BLIP: most tokens.",
    ),
    click.option("--min-length", type=_COUNT, default=5, show_default=True, help="BLIP: fewest tokens."),
    click.option("--seed", type=int, default=42, show_default=True, help="BLIP: what sampling starts from."),
)
tag_options = bundled(
    Tagging,
    click.option(
        "--thresh", type=_UNIT, default=0.35, show_default=True, help="WD14: how sure the model has to be of a tag."
    ),
    click.option("--general-threshold", type=_UNIT, help="WD14: another threshold for general tags."),
    click.option("--character-threshold", type=_UNIT, help="WD14: another threshold for characters."),
    click.option("--undesired-tags", default="", metavar="TAG,TAG", help="WD14: tags to leave out."),
    click.option("--always-first-tags", default="", metavar="TAG,TAG", help="WD14: tags that go first if found."),
    click.option("--character-tags-first", is_flag=True, help="WD14: characters before general tags."),
    click.option("--character-tag-expand", is_flag=True, help="WD14: `name_(series)` becomes `name, series`."),
    click.option("--use-rating-tags", is_flag=True, help="WD14: the rating as first tag."),
    click.option("--use-rating-tags-as-last-tag", is_flag=True, help="WD14: the rating as last tag."),
    click.option("--remove-underscore", is_flag=True, help="WD14: spaces instead of underscores."),
    click.option(
        "--tag-replacement", default="", metavar="OLD,NEW;…", help=r"WD14: tags to write otherwise; `\,` is a comma."
    ),
    click.option("--frequency-tags", is_flag=True, help="WD14: say at the end how often each tag was found."),
)
source_options = bundled(
    Source,
    click.option("--weights", type=FILE, metavar="DIR", help="Folder that holds the model's files."),
    click.option(
        "--repo-id", metavar="OWNER/NAME", help="Repository of the Hugging Face Hub, instead of the method's own."
    ),
    click.option("--download", is_flag=True, help="Get what is missing from the hub; without it nothing is fetched."),
    DEVICE,
)
writing_options = bundled(
    Writing,
    click.option("--recursive", is_flag=True, help="Pictures in subfolders too."),
    click.option(
        "--caption-extension",
        type=parse_extension,
        default=".txt",
        show_default=True,
        metavar="TEXT",
        help="Ending of caption files.",
    ),
    click.option(
        "--caption-separator", default=", ", show_default=True, help="What stands between tags, with its spaces."
    ),
    click.option("--prefix", default="", help="Text before every caption, such as a trigger word."),
    click.option("--postfix", default="", help="Text after every caption."),
    click.option("--overwrite", is_flag=True, help="Replace captions that are there; without it they are kept."),
    click.option("--append-tags", is_flag=True, help="Add what is new to captions that are there."),
    click.option("--batch-size", type=_COUNT, default=1, show_default=True, help="Pictures at a time."),
    click.option("--dry-run", is_flag=True, help="Print the captions and write nothing."),
)


@click.command(
    "caption",
    context_settings={"token_normalize_func": with_dashes},
    epilog="\b\nExamples:\n"
    "  graphexec caption train/10_sks --method wd14 --weights taggers/convnext --prefix sks,\n"
    "  graphexec caption train/10_sks --method blip --beam-search --num-beams 3 --download\n",
)
@click.argument("folder", type=FILE, metavar="DIR")
@click.option("--method", type=click.Choice(["blip", "wd14"]), required=True, help="Sentences by BLIP, tags by WD14.")
@writing_options
@source_options
@word_options
@tag_options
def command(folder: Path, method: str, writing: Writing, source: Source, words: Words, tagging: Tagging) -> None:
    """Write a caption beside each picture of a folder.

    Options are those of kohya's scripts, and may be written with underscores. Captions that are there are kept unless
    --overwrite or --append-tags is given. Nothing is fetched from the network unless --download is given.
    """
    from graphexec.train.captioning.pictures import find_pictures, pictures_of_other_kinds

    _check_use(method, writing, source, words, tagging)
    files = _files(writing)
    pictures = find_pictures(folder, writing.recursive)
    for other in pictures_of_other_kinds(folder, writing.recursive):
        click.echo(f"warning: {other}: of a kind that is not read, so it gets no caption; convert it to PNG", err=True)
    todo = files.todo(pictures)
    if kept := len(pictures) - len(todo):
        click.echo(f"{kept} of {len(pictures)} pictures have captions, which are kept", err=True)
    if not todo:
        return
    captioner = _blip(source, words) if method == "blip" else _wd14(source, tagging, writing.caption_separator)
    frequencies = Counter[str]()
    unreadable = _write(_captions(folder, todo, captioner, writing.batch_size), files, writing.dry_run, frequencies)
    if tagging.frequency_tags:
        click.echo("\n".join(f"{tag}: {count}" for tag, count in frequencies.most_common()), err=True)
    if unreadable:
        raise SystemExit(ExitCode.FAILED)


def _check_use(method: str, writing: Writing, source: Source, words: Words, tagging: Tagging) -> None:
    """Refuse options that would have no effect."""
    if writing.overwrite and writing.append_tags:
        raise click.UsageError("--overwrite and --append-tags exclude each other")
    if tagging.use_rating_tags and tagging.use_rating_tags_as_last_tag:
        raise click.UsageError("--use-rating-tags and --use-rating-tags-as-last-tag exclude each other")
    if source.weights and source.download:
        raise click.UsageError("--download fetches into the hub's cache, which is not looked into beside --weights")
    other, options = ("wd14", Tagging) if method == "blip" else ("blip", Words)
    source_of = click.get_current_context().get_parameter_source
    for name in (field.name for field in dataclasses.fields(options)):
        if source_of(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} is an option of {other}, not of {method}")
    if words.num_beams > 1 and not words.beam_search:
        raise click.UsageError("--num-beams needs --beam-search")


def _files(writing: Writing) -> CaptionFiles:
    from graphexec.train.captioning.files import CaptionFiles

    existing = "overwrite" if writing.overwrite else "append" if writing.append_tags else "keep"
    return CaptionFiles(writing.caption_extension, existing, writing.prefix, writing.postfix, writing.caption_separator)


def _blip(source: Source, words: Words) -> Captioner:
    from transformers.utils import logging

    from graphexec.train.captioning.blip import REPOSITORY, Blip, Decoding

    logging.disable_progress_bar()
    return Blip(_weights(source, REPOSITORY), Decoding(**dataclasses.asdict(words)), source.device)


def _wd14(source: Source, tagging: Tagging, separator: str) -> Captioner:
    from graphexec.train.captioning.wd14 import REPOSITORY, Wd14

    tagger = Wd14(_weights(source, REPOSITORY), _rules(tagging), separator, source.device)
    for sentence in tagger.tags.unknown():
        click.echo(f"warning: {sentence}", err=True)
    return tagger


def _rules(tagging: Tagging) -> TagRules:
    from graphexec.train.captioning.tags import TagRules, parse_replacements

    general, character = tagging.general_threshold, tagging.character_threshold
    return TagRules(
        general_threshold=tagging.thresh if general is None else general,
        character_threshold=tagging.thresh if character is None else character,
        undesired=_listed(tagging.undesired_tags),
        always_first=_listed(tagging.always_first_tags),
        replacements=parse_replacements(tagging.tag_replacement),
        remove_underscore=tagging.remove_underscore,
        character_first=tagging.character_tags_first,
        expand_character=tagging.character_tag_expand,
        rating="first" if tagging.use_rating_tags else "last" if tagging.use_rating_tags_as_last_tag else None,
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _weights(source: Source, repository: str) -> Weights:
    from graphexec.train.captioning.weights import Weights

    return Weights(source.repo_id or repository, source.weights, source.download)


def _captions(
    folder: Path, pictures: Sequence[Path], captioner: Captioner, batch_size: int
) -> Iterator[Captioned | Unreadable]:
    """With a bar where somebody looks."""
    from tqdm import tqdm

    from graphexec.train.captioning.run import caption

    found = caption(folder, pictures, captioner, batch_size)
    return iter(tqdm(found, total=len(pictures), unit="picture", disable=not is_watched()))


def _write(
    found: Iterable[Captioned | Unreadable], files: CaptionFiles, dry_run: bool, frequencies: Counter[str]
) -> int:
    """Write captions as they come, and count what is in them; returns how many pictures could not be read."""
    from graphexec.diffusion.files import write_whole
    from graphexec.train.captioning.run import Unreadable

    unreadable = 0
    for each in found:
        if isinstance(each, Unreadable):
            unreadable += 1
            click.echo(f"error: {each.reason}", err=True)
            continue
        frequencies.update(files.parts(each.caption))
        file, text = files.of(each.picture), files.text(each.picture, each.caption)
        if not dry_run:
            write_whole(file, f"{text}\n".encode())
        click.echo(f"{file}: {text}" if dry_run else str(file))
        if not text:
            click.echo(f"warning: {each.picture}: nothing was found to say of it, so its caption is empty", err=True)
    return unreadable
