# SPDX-License-Identifier: MIT
"""What the documentation shows as it is typed and printed: configurations, commands, transcripts. Read, and written anew.

In Markdown a block is what is indented by four blanks, in a manual what is between .EX and .EE or .nf and .fi. A comment right
before it names a transcript:

    <!-- transcript: NAME -->                  .\\" transcript: NAME
"""
import re
from dataclasses import dataclass

MARK = re.compile(r'(?:<!--|\.\\") transcript: ([\w-]+)(?: -->)?$')


@dataclass
class Block:
    first: int   # its lines in the file: from this one, the first of all being 0
    end: int     # to the one before this
    text: str    # without indentation and escapes
    before: str  # the paragraph before it
    name: str    # of a transcript; None if it is not said to be one


def is_configuration(text):
    return re.match(r"(\s*#.*\n|\s*\n)*\[(Daemon|Group [^\]]+)\]\n", text) is not None


def shown(path, content):
    """The blocks of a document."""
    return _of_markdown(content) if path.endswith(".md") else _of_manual(content)


def written(path, content, block, text):
    """The document with another text in the place of a block's."""
    typed = [("    " + line).rstrip() if path.endswith(".md") else _typed(line) for line in text.splitlines()]
    lines = content.splitlines()
    return "\n".join([*lines[:block.first], *typed, *lines[block.end:]]) + "\n"


def _of_markdown(content):
    first, block, before, paragraph, name = 0, [], "", [], None
    for number, line in enumerate([*content.splitlines(), "the end"]):
        if line.startswith("    ") or block and not line.strip():
            first = first if block else number
            block.append(line[4:])
            continue
        if block:
            text = "\n".join(block).rstrip() + "\n"
            yield Block(first, first + text.count("\n"), text, before, name)
            block, name = [], None
        if MARK.match(line):
            name = MARK.match(line)[1]
        elif line.strip():
            paragraph.append(line)
            before, name = " ".join(paragraph), None
        else:
            paragraph = []


def _of_manual(content):
    first, block, before, name = 0, None, [], None
    for number, line in enumerate(content.splitlines()):
        if line in (".EX", ".nf"):
            first, block = number + 1, []
        elif line in (".EE", ".fi"):
            yield Block(first, number, "\n".join(block) + "\n", " ".join(before[-8:]), name)
            block, before, name = None, [], None
        elif block is None:
            name = MARK.match(line)[1] if MARK.match(line) else None
            before.append(line)
        elif not re.match(r"\.(RS|RE|in|PP|sp)\b", line):
            block.append(_plain(line))


def _plain(line):
    line = re.sub(r"\\f[BIRP]|\\f\(..|\\&|\\:|\\/|\\,", "", line)
    return line.replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", '"').replace("\\ ", " ").replace("\\e", "\\")


def _typed(line):
    line = line.rstrip().replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + line if line.startswith(".") else line
