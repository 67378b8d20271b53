"""The `clearline` command: it finds each room's own command by entry point.

`clearline` imports no room; a merchant's installation shows the merchant's command only.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import click

_GROUP = "clearline.commands"


class RoomCommands(click.Group):
    """Loads a room's command when it is asked for, so that `clearline merchant` imports no gRPC."""

    def _found(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=_GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the installed rooms' commands."""
        return sorted(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The room's command, or None when there is no such room.

        A room whose extra is not installed says which one to install.
        """
        point = self._found().get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"`clearline {cmd_name}` needs {error.name}, which is not installed; "
                f"install the extra of this role, for example: pip install 'clearline[all]'"
            ) from None
        if not isinstance(command, click.Command):
            raise click.ClickException(f"`{point.value}` is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands by their short help; a room that can't be loaded says why instead."""
        rows: list[tuple[str, str]] = []
        for name in self.list_commands(ctx):
            try:
                command = self.get_command(ctx, name)
            except (click.ClickException, ImportError, AttributeError) as error:
                rows.append((name, f"(not available: {error})"))
                continue
            if command is not None:
                rows.append((name, command.get_short_help_str(limit=80)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.command(cls=RoomCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clearline")
def cli() -> None:
    """Clearline, a supervised payment network on Hyperledger Fabric.

    Example: clearline network up
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """The console entry point."""
    cli(args=list(arguments) if arguments is not None else None, prog_name="clearline")
