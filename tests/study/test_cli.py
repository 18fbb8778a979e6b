"""The command line: what it offers, and what it imports for that."""

import subprocess
import sys

import pytest

from edgewise import __version__
from edgewise.study.cli import COMMANDS, main


def test_every_command_is_in_the_help(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"\n    {name} " in said for name in COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["rep"]])
def test_no_command_or_another_is_told_which_there_are(capsys, arguments):
    with pytest.raises(SystemExit, match="^2$"):
        main(arguments)
    said = capsys.readouterr().err
    assert said.startswith("usage: edgewise ")
    assert "COMMAND" in said


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"edgewise {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_imports_no_other_and_not_what_takes_seconds(name):
    program = (
        "import sys; from edgewise.study.cli import main\n"
        f"try: main([{name!r}, '--help'])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stderr.split()
    assert f"edgewise.study.{COMMANDS[name]}" in imported
    assert "torch" not in imported
    assert ("matplotlib" in imported) == (name in ("report", "sheet"))
