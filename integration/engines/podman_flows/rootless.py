"""Podman as a user who is not root: the same flows, by a user whom only the sandbox knows."""
import os
import shutil

import image
from harness import DEBIAN_PATH, add_lines

from . import BOX, Podman

USER, ID, FIRST, COUNT = 'keeper', 4321, 300000, 65536


class RootlessPodman(Podman):
    name = 'podman-rootless'
    groups = False  # nobody has delegated any

    def start(self):
        self.group = os.path.basename(self.work)
        self.home = self.work + '/home'
        self.make_user()
        self.shared = self.mine('shared')
        runtime = self.mine('xdg')
        # The user may not be able to reach where the runtimes lie.
        for name, path in self.runtimes.items():
            self.runtimes[name] = shutil.copy(path, f'{self.work}/{name}')
        config = self.home + '/containers.conf'
        with open(config, 'w') as file:
            file.write(self.settings())
        self.env = {'PATH': DEBIAN_PATH, 'HOME': self.home, 'USER': USER, 'XDG_RUNTIME_DIR': runtime, 'TMPDIR': self.mine('tmp', 0o711),
                    'CONTAINERS_CONF': config, 'TERM': 'xterm', 'PODMAN_IGNORE_CGROUPSV1_WARNING': '1'}
        self.binary = shutil.which('podman', path=DEBIAN_PATH)
        path = image.archive(self.work, BOX)
        os.chmod(path, 0o644)
        self.podman('load', '-i', path, timeout=120).ok()

    def make_user(self):
        add_lines(self.work, passwd=f'{USER}:x:{ID}:{ID}::{self.home}:/bin/sh\n', group=f'{USER}:x:{ID}:\n',
                  subuid=f'{USER}:{FIRST}:{COUNT}\n', subgid=f'{USER}:{FIRST}:{COUNT}\n')
        self.mine('home')

    def mine(self, name, mode=0o700):
        """A directory that is the user's own. Podman 5 mounts the root of mapped users in TMPDIR: they pass through."""
        path = f'{self.work}/{name}'
        os.makedirs(path, mode=mode, exist_ok=True)
        os.chown(path, ID, ID)
        return path

    def base(self):
        return ('setpriv', f'--reuid={ID}', f'--regid={ID}', '--init-groups', '--inh-caps=-all', self.binary)
