"""What the site takes from the program: the help of every command, asked when the site is built."""

import os
import re
import subprocess
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "target" / "release" / "picklet"


def _help(*words):
    environment = {**os.environ, "COLUMNS": "100"}
    asked = [PROGRAM, *words, "--help"]
    text = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in text.stdout.rstrip().splitlines())


def _commands():
    whole = _help()
    yield f"```text\n{whole}\n```\n"
    listed = whole.split("Commands:\n")[1].split("\n\n")[0]
    for name in re.findall(r"^  (\w+)", listed, re.MULTILINE):
        yield f"## picklet {name}\n\n```text\n{_help(name)}\n```\n"


def on_page_markdown(markdown, page, config, files):
    """Called by MkDocs for each page: fills in the command line's."""
    return markdown.replace("<!-- commands -->", "\n".join(_commands()))
