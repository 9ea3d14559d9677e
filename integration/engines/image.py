"""A small root file system from Debian's busybox, and our probe, for every engine."""
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

from harness import in_guest

PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
HERE = os.path.dirname(os.path.abspath(__file__))


def rootfs(directory):
    """Makes the root file system in `directory`."""
    for name in ('bin', 'etc', 'tmp', 'root', 'home', 'var', 'proc', 'sys', 'dev'):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    os.chmod(os.path.join(directory, 'tmp'), 0o1777)
    binaries = os.path.join(directory, 'bin')
    shutil.copy('/bin/busybox', os.path.join(binaries, 'busybox'))
    applets = subprocess.run(['/bin/busybox', '--list'], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != 'busybox':
            os.symlink('busybox', os.path.join(binaries, applet))
    probe = os.path.join(binaries, 'probe')
    if in_guest.THERE:
        shutil.copy(in_guest.PROBE, probe)
    else:
        subprocess.run(['cc', '-O1', '-static', '-o', probe, os.path.join(HERE, 'probe.c')], check=True)
    # A program with the set-user-ID bit, for no_new_privs: it prints its effective user.
    setuid = os.path.join(binaries, 'who')
    if os.path.lexists(setuid):
        os.unlink(setuid)
    shutil.copy(probe, setuid)
    os.chmod(setuid, 0o4755)
    write(directory, 'etc/passwd', 'root:x:0:0:root:/root:/bin/sh\ntester:x:1000:1000::/home:/bin/sh\n')
    write(directory, 'etc/group', 'root:x:0:\ntester:x:1000:\naudio:x:29:tester\n')
    write(directory, 'etc/plain', 'not a program\n')
    return directory


def write(directory, name, text):
    with open(os.path.join(directory, name), 'w') as file:
        file.write(text)


def archive(work, name, command=('echo', 'from the image')):
    """Makes the image `name`, with two settings of its own, as `docker save` would write it; the path of the file."""
    root, layer = work + '/rootfs', work + '/layer.tar'
    shutil.rmtree(root, ignore_errors=True)
    rootfs(root)
    subprocess.run(['tar', '--sort=name', '--mtime=@0', '--owner=0', '--group=0', '-C', root, '-cf', layer, '.'],
                   check=True)
    return of_layer(work, name, layer, command)


def debian(work, name):
    """Makes an image of this machine's own files of bash, coreutils and what they depend on."""
    layer = work + '/layer.tar'
    # Paths as they really are: /bin is a link. Directories come by themselves, with their own modes.
    script = r'''
        depends="apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances"
        packages=$($depends bash coreutils base-files base-passwd | grep -E '^[a-z0-9]' | sort -u)
        { dpkg-query -L $packages 2>/dev/null | grep -vE '^/usr/share/(doc|man|locale|perl|info)|^/usr/lib/[^/]*/perl' || true
          printf '%s\n' /bin /sbin /lib /lib64 /etc/passwd /etc/group /etc/debian_version /tmp; } |
            sed -E 's#^/(bin|sbin|lib|lib64)/#/usr/\1/#; s#^/\.$#/#; s#^/#./#' | sort -u >"$1.list"
        cd / && tar --no-recursion --numeric-owner --ignore-failed-read -cf "$1" -T "$1.list" 2>/dev/null || [ $? = 1 ] || [ $? = 2 ]
    '''
    subprocess.run(['bash', '-c', script, 'debian', layer], check=True)
    return of_layer(work, name, layer, ('bash',))


def of_layer(work, name, layer, command):
    """Makes the image of one layer, which it removes; the path of the archive."""
    path = f'{work}/{name.split("/")[-1].split(":")[0]}.tar'
    with open(layer, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    config = json.dumps({
        'architecture': {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(os.uname().machine, os.uname().machine),
        'os': 'linux',
        'config': {'Cmd': list(command), 'Env': [f'PATH={PATH}', 'FROM_IMAGE=yes']},
        'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + digest]},
        'history': [{'created_by': 'busybox'}],
    }).encode()
    config_name = hashlib.sha256(config).hexdigest() + '.json'
    manifest = json.dumps([{'Config': config_name, 'RepoTags': [name], 'Layers': ['layer.tar']}]).encode()
    with tarfile.open(path, 'w') as out:
        out.add(layer, 'layer.tar')
        for member, data in ((config_name, config), ('manifest.json', manifest)):
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    os.unlink(layer)
    return path
