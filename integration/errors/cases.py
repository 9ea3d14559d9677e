"""The failures of docs/errors.md: what is done to a bundle, which command is given, and what tare must say of it.

A case is made anew for each runtime in a directory of its own; `{id}` is the container, `{bundle}` the bundle. The words
that tare must say are what a person needs to act; a change of them is a change of the page.
"""
import json
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from typing import Callable

CASES = []


@dataclass
class Case:
    section: str
    title: str
    says: str                                   # part of tare's message
    change: Callable = lambda bundle: None      # of the bundle, before
    command: list = field(default_factory=lambda: ['run', '{id}'])
    before: list = field(default_factory=list)  # commands that must succeed
    user: bool = False                          # as somebody without privileges
    here: bool = False                          # with the machine's own control groups, where crun does not run
    env: dict = field(default_factory=dict)
    image: bool = False                         # of tare-image, with a directory instead of a bundle
    host: Callable = lambda: True               # whether this host can fail so
    lacks: str = ''                             # why a stranger cannot act on tare's message alone


class Section:
    def __init__(self, name):
        self.name = name

    def __call__(self, title, says, change=lambda bundle: None, **more):
        CASES.append(Case(self.name, title, says, change, **more))


class Bundle:
    """A bundle that a case changes before it is used."""

    def __init__(self, directory, config):
        self.directory, self.config = directory, config
        self.rootfs = f'{directory}/rootfs'
        self.document = None    # the text of config.json, where it is not made of the configuration

    def text(self, text):
        self.document = text

    def args(self, *args):
        self.config['process']['args'] = list(args)

    def file(self, path, content=b'', mode=0o755):
        path = f'{self.rootfs}{path}'
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(path, mode)

    def program(self, path, content=b'', mode=0o755):
        self.file(path, content, mode)
        self.args(path)

    def link(self, path, target):
        os.symlink(target, f'{self.rootfs}{path}')
        self.args(path)

    def mount(self, **mount):
        self.config['mounts'].append(mount)

    def namespace(self, kind, path=None):
        self.without_namespace(kind)
        self.config['linux']['namespaces'].append({'type': kind, **({'path': path} if path else {})})

    def without_namespace(self, kind):
        namespaces = self.config['linux']['namespaces']
        self.config['linux']['namespaces'] = [one for one in namespaces if one['type'] != kind]

    def resources(self, **resources):
        self.config['linux'].setdefault('resources', {}).update(resources)

    def user(self, uid=1000):
        self.config['process']['user'] = {'uid': uid, 'gid': uid}
        self.config['process'].pop('capabilities', None)

    def user_namespace(self, *maps):
        self.namespace('user')
        self.config['linux']['uidMappings'] = self.config['linux']['gidMappings'] = list(maps)


def elf(machine, loader=None):
    """The head of a program with one segment of code, and one that names a loader."""
    name = loader.encode() + b'\0' if loader else b''
    head = b'\x7fELF\2\1\1' + bytes(9) + struct.pack('<HHIQQQIHHHHHH', 2, machine, 1, 0x400000, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    segment = lambda kind, at, size: struct.pack('<IIQQQQQQ', kind, 5, at, 0x400000 + at, 0x400000 + at, size, size, 1)
    return head + segment(3 if loader else 0x6fffffff, 176, len(name)) + segment(1, 0, 176) + name


NATIVE, FOREIGN = 62, 183

program = Section('The program is not executed')
program('a name that no directory of PATH has', 'looked for in /usr/local/sbin', lambda b: b.args('nosuch'))
program('a path that is not there', 'exec: "/nosuch": stat /nosuch: no such file or directory', lambda b: b.args('/nosuch'))
program('a directory on the way is missing', 'there is no directory /opt', lambda b: b.args('/opt/app/run'))
program('a whole command line as one argument', 'a command line is for sh -c', lambda b: b.args('sh -c true'))
program('no PATH', 'the environment has no PATH', lambda b: (b.args('true'), b.config['process'].update(env=['A=1'])))
program('a symlink that dangles', '/bin/app is a symlink to /nix/app', lambda b: b.link('/bin/app', '/nix/app'))
program('symlinks in a circle', 'symlinks lead in a circle at /bin/app', lambda b: b.link('/bin/app', 'app'))
program('a directory', 'is a directory', lambda b: b.args('/etc'))
program('a file on the way', '/etc/passwd is no directory', lambda b: b.args('/etc/passwd/app'))
program('no x bit', 'mode 0644 has no x bit', lambda b: b.program('/bin/app', '#!/bin/sh\n', 0o644))
program('executable for another user alone', 'mode 0700 of user 0 does not let user 1000 execute it',
        lambda b: (b.program('/bin/app', '#!/bin/sh\n', 0o700), b.user()))
program('a directory that the user may not enter', 'user 1000 may not enter /private (0700 of user 0)',
        lambda b: (b.program('/private/app', '#!/bin/sh\n'), os.chmod(f'{b.rootfs}/private', 0o700), b.user()))
program('a program that is cut off', 'the file is cut off: it has 65536 bytes', lambda b: (
    shutil.copy('/bin/busybox', f'{b.directory}/rootfs/bin/app'), os.truncate(f'{b.directory}/rootfs/bin/app', 65536),
    b.args('/bin/app')))
program('a mount without programs', '/mnt is mounted noexec', lambda b: (
    os.makedirs(f'{b.directory}/share'), subprocess.run(['cp', '/bin/busybox', f'{b.directory}/share/app'], check=True),
    b.mount(destination='/mnt', source=f'{b.directory}/share', options=['bind', 'noexec']), b.args('/mnt/app')))
program('an interpreter that is missing', 'it needs /usr/bin/python3, which is not in the root file system',
        lambda b: b.program('/bin/app', '#!/usr/bin/python3\n'))
program('Windows line ends', 'Windows line ends', lambda b: b.program('/bin/app', '#!/bin/sh\r\necho\r\n'))
program('a script without #!', 'a text file without a #! line', lambda b: b.program('/bin/app', 'echo hello\n'))
program('a byte order mark before #!', 'a byte order mark before its #!', lambda b: b.program('/bin/app', b'\xef\xbb\xbf#!/bin/sh\n'))
program('an empty file', 'the file is empty', lambda b: b.program('/bin/app'))
program('a program for another machine', 'a program for aarch64, this host is x86_64', lambda b: b.program('/bin/app', elf(FOREIGN)))
program('a program for another C library', '(the loader of glibc), which is not in the root file system',
        lambda b: b.program('/bin/app', elf(NATIVE, '/lib64/ld-linux-x86-64.so.2')))
program('a program for Windows', 'a program for Windows', lambda b: b.program('/bin/app', b'MZ\x90\0' + bytes(60)))
program('a large environment', 'the variable BIG is 200005 bytes long',
        lambda b: b.config['process']['env'].append('BIG=' + 'x' * 200000))
program('exec of a path that is not there', 'stat /nosuch: no such file or directory',
        lambda b: b.args('sleep', '1000'), before=[['run', '-d', '{id}']], command=['exec', '{id}', '/nosuch'])
program('exec of another machine\'s program', 'a program for aarch64, this host is x86_64',
        lambda b: (b.program('/bin/app', elf(FOREIGN)), b.args('sleep', '1000')),
        before=[['run', '-d', '{id}']], command=['exec', '{id}', '/bin/app'])
program('a seccomp profile without execve', 'it does not permit execve', lambda b: b.config['linux'].update(
    seccomp={'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [{'names': ['execve'], 'action': 'SCMP_ACT_KILL_PROCESS'}]}))
program('a seccomp profile that ends the program', 'tare seccomp record', lacks='no status of a process says for which call it '
        'ended, and only some kernels log it; the hint says how to find out', change= lambda b: (b.args('uname'), b.config['linux'].update(
    seccomp={'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [{'names': ['uname'], 'action': 'SCMP_ACT_KILL_PROCESS'}]})))

bundle = Section('The bundle')
bundle('no such directory', 'bundle /nosuch: no such directory', command=['run', '-b', '/nosuch', '{id}'])
bundle('not a directory', 'not a directory', command=['run', '-b', '{bundle}/config.json', '{id}'])
bundle('no config.json', 'JSON specification file config.json not found', lambda b: b.config.clear())
bundle('broken JSON', 'config.json', lambda b: b.config.update(broken=True))
bundle('no rootfs', '/nosuch: no such directory', lambda b: b.config['root'].update(path='nosuch'))
bundle('rootfs is a file', 'rootfs is not a directory', lambda b: b.config['root'].update(path='config.json'))
bundle('an overlay bundle that is not mounted', 'tare-image mount', lambda b: (
    os.rename(b.rootfs, f'{b.directory}/store'), os.makedirs(b.rootfs),
    open(f'{b.directory}/tare-image.json', 'w').write('{"shared": {}}')))
bundle('the id is in use', 'container with given ID already exists', lambda b: b.args('sleep', '1000'),
       before=[['run', '-d', '{id}']])
bundle('a bad id', 'invalid container ID format', command=['run', 'a/b'])

hook = Section('Hooks')
for title, says, path in (('a hook that is not there', 'no such file or directory', '/nosuch'),
                          ('a hook that is no program', 'a text file without a #! line', '{bundle}/rootfs/bin/app'),
                          ('a hook without x bit', 'mode 0644 has no x bit', '{bundle}/rootfs/bin/noexec')):
    hook(title, says, lambda b, path=path: (
        b.file('/bin/app', 'echo hello\n'), b.file('/bin/noexec', '#!/bin/sh\n', 0o644),
        b.config.update(hooks={'createRuntime': [{'path': path.replace('{bundle}', b.directory)}]})))
hook('a hook that fails', 'createRuntime hook #0: exit status 3', lambda b: b.config.update(
    hooks={'createRuntime': [{'path': '/bin/sh', 'args': ['sh', '-c', 'echo the reason >&2; exit 3']}]}))
hook('a hook that takes too long', 'hook ran past specified timeout of 1.0s', lambda b: b.config.update(
    hooks={'createRuntime': [{'path': '/bin/sleep', 'args': ['sleep', '5'], 'timeout': 1}]}))

container = Section('The container')
container('it does not exist', 'container does not exist', command=['state', '{id}'])
container('kill one that does not exist', 'container does not exist', command=['kill', '{id}', 'KILL'])
container('delete one that runs', 'that is not stopped: running', lambda b: b.args('sleep', '1000'),
          before=[['run', '-d', '{id}']], command=['delete', '{id}'])
container('start one that runs', 'cannot start an already running container', lambda b: b.args('sleep', '1000'),
          before=[['run', '-d', '{id}']], command=['start', '{id}'])
container('exec in one that is paused', 'cannot exec in a paused container', lambda b: b.args('sleep', '1000'),
          before=[['run', '-d', '{id}'], ['pause', '{id}']], command=['exec', '{id}', 'true'], here=True)
container('an unknown signal', 'unknown signal "NOPE"', lambda b: b.args('sleep', '1000'),
          before=[['run', '-d', '{id}']], command=['kill', '{id}', 'NOPE'])
container('a terminal without a socket', '--console-socket', lambda b: b.config['process'].update(terminal=True),
          command=['create', '{id}'])
container('a socket without a terminal', 'console socket', command=['create', '--console-socket', '/run/nosuch', '{id}'])
container('a console socket that is not there', '/run/nosuch', lambda b: b.config['process'].update(terminal=True),
          command=['create', '--console-socket', '/run/nosuch', '{id}'])
container('a working directory that is a file', '/etc/passwd', lambda b: b.config['process'].update(cwd='/etc/passwd'))

mount = Section('Mounts and namespaces')
mount('the source of a bind is missing', 'the source of a bind must exist on the host', lambda b: b.mount(
    destination='/data', source='/nosuch', options=['bind']))
mount('a file over a directory', 'not a directory', lambda b: b.mount(
    destination='/etc', source=f'{b.directory}/config.json', options=['bind']))
mount('an unknown file system', 'this kernel does not know the filesystem type', lambda b: b.mount(
    destination='/data', type='nosuchfs', source='nosuchfs'))
mount('an unknown option', "Bad value for 'size'", lambda b: b.mount(
    destination='/data', type='tmpfs', source='tmpfs', options=['size=lots']))
mount('a namespace that is not there', '/proc/999999999/ns/net', lambda b: b.namespace('network', '/proc/999999999/ns/net'))
mount('a namespace of another kind', 'network', lambda b: b.namespace('network', '/proc/self/ns/ipc'))
mount('a sysctl of the host', 'kernel.panic', lambda b: b.config['linux'].update(sysctl={'kernel.panic': '1'}))
mount('a sysctl without its namespace', 'net.ipv4.ip_forward', lambda b: (
    b.without_namespace('network'), b.config['linux'].update(sysctl={'net.ipv4.ip_forward': '1'})))
mount('an ID among the options that is not mapped', 'must be mapped in the container', lambda b: (
    b.user_namespace({'containerID': 0, 'hostID': 0, 'size': 1})))
mount('a user that is not mapped', 'cannot setuid to unmapped uid 1000', lambda b: (
    b.config['mounts'].clear(),
    b.user_namespace({'containerID': 0, 'hostID': 0, 'size': 1}), b.config['process'].update(user={'uid': 1000, 'gid': 0})))
mount('a hostname without its namespace', 'hostname', lambda b: (b.without_namespace('uts'), b.config.update(hostname='x')))

limit = Section('Rights and limits')
limit('CPUs that the host does not have', 'this host has', lambda b: b.resources(cpu={'cpus': '0-700'}), here=True)
limit('memory nodes that the host does not have', 'this host has', lambda b: b.resources(cpu={'mems': '7'}), here=True)
limit('a limit below what is used', 'current usage', lambda b: b.args('sh', '-c', 'exec sleep 1000'), here=True,
      before=[['run', '-d', '{id}']], command=['update', '--memory', '4096', '{id}'])
limit('more memory than the limit', "killed for lack of memory: the container's limit is 16 MiB", lambda b: (
    b.resources(memory={'limit': 16 << 20}), b.args('busybox', 'tail', '/dev/zero')), here=True)
limit('too little memory to start', 'OOM-killed', lambda b: b.resources(memory={'limit': 4096}), here=True)
limit('an unknown capability', '"CAP_NOPE" at bounding/0', lambda b: b.config['process']['capabilities'].update(bounding=['CAP_NOPE']))
limit('an unknown rlimit', 'RLIMIT_NOPE', lambda b: b.config['process'].update(rlimits=[{'type': 'RLIMIT_NOPE', 'soft': 1, 'hard': 1}]))
limit('a soft limit above the hard one', '/process/rlimits/0/soft', lambda b: b.config['process'].update(
    rlimits=[{'type': 'RLIMIT_NOFILE', 'soft': 10, 'hard': 1}]))
limit('an unknown call in a seccomp profile', 'SCMP_ACT_NOPE', lambda b: b.config['linux'].update(
    seccomp={'defaultAction': 'SCMP_ACT_NOPE'}))
limit('an AppArmor profile that is not there', '/process/apparmorProfile', lambda b: b.config['process'].update(apparmorProfile='nosuch'))

user = Section('Without root')
user('no user namespace', 'user namespace', user=True)
user('more ids than one', '/etc/subuid', lambda b: b.user_namespace({'containerID': 0, 'hostID': 100000, 'size': 65536}), user=True)
user('no XDG_RUNTIME_DIR', 'XDG_RUNTIME_DIR', lambda b: b.user_namespace(
    {'containerID': 0, 'hostID': 65534, 'size': 1}), user=True, env={'XDG_RUNTIME_DIR': ''})
