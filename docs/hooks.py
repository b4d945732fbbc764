"""What the site takes from elsewhere when it is built: the help of every command, the schemas."""

import json
import os
import re
import subprocess
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PROGRAM = DOCS.parent / "target" / "release" / "picklet"


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


def _kind(field):
    """What a field's value is, in a few words."""
    if "const" in field:
        return f"always `{json.dumps(field['const'])}`"
    if "enum" in field:
        return "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    kind = field.get("type", "anything")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    return (
        f"{kind}, `{field['pattern']}`" if len(field.get("pattern", "")) in range(1, 30) else kind
    )


def _fields(schema, whole, path=""):
    """The rows of a table: each field by its path, its kind and what the schema says of it."""
    for name, given in schema.get("properties", {}).items():
        field = given
        if "$ref" in field:
            referred = whole["$defs"][field["$ref"].rpartition("/")[2]]
            field = {**referred, **{k: v for k, v in given.items() if k != "$ref"}}
        here = f"{path}{name}"
        optional = "" if name in schema.get("required", []) else "optional "
        # A pipe would end the table's cell.
        cells = [f"`{here}`", optional + _kind(field), field.get("description", "")]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        inner, suffix = field, "."
        if field.get("type") == "array":
            inner, suffix = field.get("items", {}), "[]."
            if "$ref" in inner:
                inner = whole["$defs"][inner["$ref"].rpartition("/")[2]]
        yield from _fields(inner, whole, f"{here}{suffix}")


def _schema(match):
    schema = json.loads((DOCS / match[1]).read_text(encoding="utf-8"))
    rows = _fields(schema, schema)
    return "\n".join(
        [schema.get("description", ""), "", "| field | value | |", "|---|---|---|", *rows]
    )


def on_page_markdown(markdown, page, config, files):
    """Called by MkDocs for each page: fills in what is asked for by a comment."""
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", "\n".join(_commands()))
    return re.sub(r"<!-- schema ([\w.]+) -->", _schema, markdown)
