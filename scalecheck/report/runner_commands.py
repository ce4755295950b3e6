"""What the programs that keep a log, mostly the runners of a CI, take in it for a command."""

import re

_COMMAND = re.compile(
    r"""
    # GitHub and Gitea trim a line and look for ::error and its like, Chromium's and LLVM's
    # buildbots for @@@STEP_FAILURE@@@, Nix for @nix {}.
    ^[^\S\n]* (?: :(?=:) | @(?=@@|nix\b) )
    # Buildkite opens a group at ---, +++ and ~~~, and the one before at ^^^ +++. A rule under the
    # head of a table is none.
    | ^(?![-\ ]*$) [^\S\n]* (?: -(?=--) | \+(?=\+\+) | ~(?=~~) | \^(?=\^\^) )
    # Anywhere in a line: ##[group] of GitHub and Azure, ##vso[...], ##teamcity[...].
    | \#(?=\#\w*\[)
    # GitLab's and Travis's sections.
    | (?: section_(?:start|end) | travis_(?:fold|time) ):
    # CTest takes measurements, and files to upload, from what a test prints.
    | <(?=/?(?:Dart|CTest)\w)
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


def without_commands(text: str) -> str:
    r"""The text with a character of every command written as \x23."""
    return _COMMAND.sub(lambda found: f"{found[0][:-1]}\\x{ord(found[0][-1]):02x}", text)


def without_commands_in_strings(text: str) -> str:
    """Text of JSON or another language with the same strings, which hold what they held: there a
    command can be in a string only, where an escape stands for its character."""
    return _COMMAND.sub(lambda found: f"{found[0][:-1]}\\u{ord(found[0][-1]):04x}", text)
