"""The crates of a build: what is linked into the two binaries, and what runs when they are built. From cargo and Cargo.lock."""
import json
import os
import subprocess
import tomllib

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(*argv):
    return subprocess.run(argv, cwd=REPO, check=True, capture_output=True, text=True).stdout


def target():
    """The target that `make` builds for."""
    return run('integration/target').strip()


class Crate:
    def __init__(self, name, version):
        self.name, self.version = name, version
        self.linked = False
        self.uses = set()  # keys of crates
        self.licence = self.description = self.repository = self.checksum = None
        self.authors = []
        self.directory = None

    @property
    def key(self):
        return self.name, self.version

    @property
    def purl(self):
        return f'pkg:cargo/{self.name}@{self.version}'


def crates():
    """All crates by (name, version), tare's own first."""
    found = {}
    # `cargo tree` and not the graph of `cargo metadata`: that one has the features that tests switch on.
    for edges in ('normal,no-proc-macro', 'normal,build'):
        linked = edges.endswith('no-proc-macro')
        for line, parents in lines(tree(edges)):
            crate = found.setdefault(line, Crate(*line))
            crate.linked = crate.linked or linked
            if parents:
                found[parents[-1]].uses.add(line)
    add_metadata(found)
    return found


def tree(edges):
    return run('cargo', 'tree', '--locked', '--edges', edges, '--target', target(), '--features', 'tuning', '--no-dedupe',
               '--prefix', 'depth', '--format', ' {p}')


def lines(text):
    """(the crate, the crates above it) for each line of a tree."""
    path = []
    for line in text.splitlines():
        depth, name, version = line.split()[:3]
        key = name, version.removeprefix('v')
        del path[int(depth):]
        yield key, path
        path.append(key)


def add_metadata(found):
    for package in json.loads(run('cargo', 'metadata', '--locked', '--features', 'tuning', '--format-version', '1'))['packages']:
        crate = found.get((package['name'], package['version']))
        if crate:
            crate.licence = (package['license'] or '').replace('/', ' OR ') or None
            crate.description, crate.repository = package['description'], package['repository']
            crate.authors = package['authors']
            crate.directory = os.path.dirname(package['manifest_path'])
    with open(f'{REPO}/Cargo.lock', 'rb') as file:
        for package in tomllib.load(file)['package']:
            crate = found.get((package['name'], package['version']))
            if crate:
                crate.checksum = package.get('checksum')
