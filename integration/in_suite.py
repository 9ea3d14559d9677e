"""The option `--suite NAME` of the scripts here: the script runs once more, in the tree of that Debian suite."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
HELP = 'run in this Debian suite instead of on this machine: bookworm, trixie or forky (integration/suite)'


def enter():
    """Replaces this process by `integration/suite run NAME SCRIPT ...` if the command line has `--suite NAME`. To be
    called first: programs that options name by default are looked for in the suite then."""
    script, *words = sys.argv
    name, words = taken('--suite', words)
    if not name:
        return
    paths = [os.path.abspath(word) for word in words if os.path.exists(word)]
    words = [os.path.abspath(word) if os.path.exists(word) else word for word in words]
    bound = [word for path in paths for word in ('--with', path)]
    os.execv(f'{HERE}/suite', [f'{HERE}/suite', 'run', *bound, name, 'python3', os.path.abspath(script), *words])


def taken(option, words):
    """What stands behind this option, or None; and the other words."""
    for index, word in enumerate(words):
        if word.startswith(option + '='):
            return word.partition('=')[2], words[:index] + words[index + 1:]
        if word == option and index + 1 < len(words):
            return words[index + 1], words[:index] + words[index + 2:]
    return None, words
