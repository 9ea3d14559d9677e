"""Describes a tree, one line for each file: everything that an image determines, and nothing that it leaves open."""
import hashlib
import os
import stat


def listing(root):
    """Maps each path to its description: type and mode, owner, other names, time, content, target or device, attributes."""
    root = os.fsencode(root)
    lines, first = {}, {}
    for path in paths(root):
        meta = os.lstat(path)
        name = path[len(root):] or b'/'
        names = ''
        if meta.st_nlink > 1 and not stat.S_ISDIR(meta.st_mode):
            names = f'{meta.st_nlink} names, first {show(first.setdefault(meta.st_ino, name))}'
        seconds, nanoseconds = divmod(meta.st_mtime_ns, 10 ** 9)
        lines[show(name)] = ' '.join([f'{meta.st_mode:o}', f'{meta.st_uid}:{meta.st_gid}', names,
                                      f'{seconds}.{nanoseconds:09}', what(path, meta), attributes(path)])
    return lines


def paths(root):
    """Yields all paths in the order of their bytes, each directory before what is in it."""
    yield root
    waiting = [root]
    while waiting:
        above = waiting.pop()
        with os.scandir(above) as entries:
            entries = sorted(entries, key=lambda entry: entry.name)
        yield from (entry.path for entry in entries)
        waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def what(path, meta):
    if stat.S_ISREG(meta.st_mode):
        with open(path, 'rb') as file:
            return f'{meta.st_size} {hashlib.file_digest(file, "sha256").hexdigest()}'
    if stat.S_ISLNK(meta.st_mode):
        return '-> ' + show(os.readlink(path))
    return f'{os.major(meta.st_rdev)}:{os.minor(meta.st_rdev)}'


def attributes(path):
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return ' '.join(f'{name}={os.getxattr(path, name, follow_symlinks=False).hex()}' for name in names)


def show(name):
    """Returns a name of any bytes as printable text."""
    return os.fsencode(name).decode('ascii', 'backslashreplace').encode('unicode_escape').decode()


def difference(ours, theirs):
    """Maps each path that differs to both descriptions; the description of a missing file is empty."""
    return {path: (ours.get(path, ''), theirs.get(path, '')) for path in sorted(ours.keys() | theirs.keys())
            if ours.get(path) != theirs.get(path)}
