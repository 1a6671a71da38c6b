"""`graphexec train`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

import click

from graphexec.cli.document import print_document, tell
from graphexec.cli.exits import ExitCode, exit_codes_in_words
from graphexec.cli.interrupts import stopping
from graphexec.cli.options import FILE, App, Places, json_option, parse_device, place_options
from graphexec.errors import Cancelled, ModelFileError

if TYPE_CHECKING:
    from graphexec.train.config import TrainConfig
    from graphexec.train.kohya import Fault, Reading
    from graphexec.train.run import Trained

SAVED_STATE = ""
"""`--resume` without a value: the state beside the result."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says besides the settings."""

    config: Path | None
    command: str | None
    settings: tuple[str, ...]
    resume: str | None
    device: str | None
    output_dir: Path | None

    def reading(self, places: Places) -> Reading:
        """The settings; raises ConfigError with all that is wrong."""
        from graphexec.train.kohya import read_command, read_file

        if (self.config is None) == (self.command is None):
            raise click.UsageError("give either a file of settings or --from-command" + self._hint())
        overrides, find = self._overrides(), _finder(places)
        if self.command is not None:
            return read_command(self.command, overrides, find)
        return read_file(self.config or Path(), overrides, find)

    def _hint(self) -> str:
        """`--resume` takes what follows it."""
        if not self.resume or self.config is not None or not self.resume.lower().endswith((".toml", ".json")):
            return ""
        return f"; {self.resume} was read as the state to go on from: graphexec train {self.resume} --resume"

    def _overrides(self) -> dict[str, str]:
        found = dict(map(_setting, self.settings))
        if self.output_dir is not None:
            found["output_dir"] = str(self.output_dir)
        if self.device is not None:
            found["device"] = self.device
        if self.resume:
            found["resume"] = self.resume
        return found

    def resumed(self, config: TrainConfig) -> TrainConfig:
        """With the state beside the result, where that is meant; raises ConfigError if there is none."""
        from graphexec.train.kohya import ConfigError
        from graphexec.train.kohya.faults import Faults

        if self.resume != SAVED_STATE:
            return config
        state = state_path(config)
        if not state.exists():
            faults = Faults()
            hint = "leave --resume out to start anew, or name the state that is meant"
            faults.missing("--resume", "", f"there is no {state} to go on from", hint)
            raise ConfigError(faults.found)
        return dataclasses.replace(config, saving=dataclasses.replace(config.saving, resume=state))


def _finder(places: Places) -> Callable[[str, str], Path | None]:
    """Looks names up in the folders of models."""
    folders = places.folders()

    def find(kind: str, name: str) -> Path | None:
        path = PureWindowsPath(name)
        if path.drive or ".." in path.parts:  # a path that leads nowhere, and no name of a file in a folder of models
            return None
        try:
            return folders.resolve(kind, name)
        except ModelFileError:
            return None

    return find


def state_path(config: TrainConfig) -> Path:
    """Where the state of a run lies."""
    return config.saving.output_dir / f"{config.saving.output_name}.state"


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--set")
    return key.strip(), value


@click.command(
    "train",
    epilog="\b\nExamples:\n"
    "  graphexec train style.toml --dry-run\n"
    "  graphexec train style.toml --set network_dim=16 --output-dir loras\n"
    "  graphexec train style.toml --resume\n"
    '  graphexec train --from-command "accelerate launch train_network.py --network_dim=8 …"\n\n'
    + exit_codes_in_words(),
)
@click.argument("config", type=FILE, required=False, metavar="[CONFIG]")
@click.option(
    "--from-command",
    "command",
    metavar="LINE",
    help="A command line that starts sd-scripts' train_network.py or sdxl_train_network.py, instead of a file.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be trained, how long and with how much memory; no more.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value=SAVED_STATE,
    metavar="[STATE]",
    help="Go on from a state (a file or folder); without a value from the one beside the result.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another value for a setting of the file. Repeatable.",
)
@click.option(
    "--device",
    type=parse_device,
    metavar="DEVICE",
    help="What to train on: auto, cpu, cuda or cuda:N.",
)
@click.option(
    "--output-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where the LoRA goes."
)
@place_options
@json_option("the plan or the result")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    config: Path | None,
    command: str | None,
    dry_run: bool,
    resume: str | None,
    settings: tuple[str, ...],
    device: str | None,
    output_dir: Path | None,
    places: Places,
    as_json: bool,
) -> None:
    """Train a LoRA.

    CONFIG is a TOML file of sd-scripts' settings (as for its --config_file), flat or in sections, or the same as JSON.
    Ctrl-C keeps a state, from which --resume goes on as if nothing had happened.
    """
    asked = Asked(config, command, settings, resume, device, output_dir)
    ctx.exit(_follow(asked, ctx.obj, places, dry_run, as_json))


def _follow(asked: Asked, app: App, places: Places, dry_run: bool, as_json: bool) -> ExitCode:
    """Do what was asked; raises what stops it, but for wrong settings and interruptions, which are told."""
    from graphexec.train.kohya import ConfigError

    try:
        reading = asked.reading(places)
        config = asked.resumed(reading.config)
    except ConfigError as error:
        return _show_faults(error.faults, as_json)
    if dry_run:
        _dry_run(config, reading.faults, as_json)
        return ExitCode.DONE
    _say(reading.faults)
    return _train(app, config, places, as_json)


def _dry_run(config: TrainConfig, faults: Sequence[Fault], as_json: bool) -> None:
    from graphexec.cli.trainingplan import lines
    from graphexec.train.plan import make_plan

    plan = make_plan(config)
    if as_json:
        print_document(ExitCode.DONE, plan=plan.as_json(), findings=[asdict(fault) for fault in faults])
        return
    _say(faults)
    click.echo("\n".join(lines(plan)))


def _train(app: App, config: TrainConfig, places: Places, as_json: bool) -> ExitCode:
    from graphexec.cli.samples import make_sampler
    from graphexec.cli.trainingbar import TrainingBar
    from graphexec.graph.context import CancelToken
    from graphexec.train.run import train

    cancel = CancelToken()
    sample = make_sampler(config, app.registry, places, cancel)
    bar = TrainingBar()
    with stopping(cancel) as stopped:
        try:
            with bar:
                trained = train(config, watch=bar, cancelled=lambda: cancel.cancelled, sample=sample)
        except Cancelled as error:
            click.echo(f"interrupted: {error}" if str(error) else "interrupted", err=True)
            code = stopped.code or ExitCode.INTERRUPTED
            if as_json:
                print_document(code, error=None, state=None if bar.state is None else str(bar.state))
            return code
    _show_result(trained, as_json)
    return ExitCode.DONE


def _show_result(trained: Trained, as_json: bool) -> None:
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(trained).items()}
    tell(plain, str(trained.lora), as_json)


def _say(faults: Sequence[Fault]) -> None:
    for fault in faults:
        click.echo(str(fault), err=True)


def _show_faults(faults: Sequence[Fault], as_json: bool) -> ExitCode:
    code = _code(faults)
    if as_json:
        print_document(code, findings=[asdict(fault) for fault in faults])
    else:
        _say(faults)
    return code


def _code(faults: Sequence[Fault]) -> ExitCode:
    """Missing files alone are no fault of the settings."""
    errors = [fault for fault in faults if fault.severity == "error"]
    return ExitCode.MISSING if all(fault.missing_file for fault in errors) else ExitCode.INVALID
