"""A program on a pseudo-terminal of ours: what a person at the keyboard does."""
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time

from harness import Failed, check, in_guest, tail


class Terminal:
    def __init__(self, *argv, rows=24, columns=80, env=None):
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.seen = ''
        self.process = subprocess.Popen([str(word) for word in argv], stdin=slave, stdout=slave, stderr=slave,
                                        env=env, start_new_session=True, preexec_fn=lambda: take(slave))
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.master)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def resize_until_seen(self, rows, columns):
        """A client that is just starting may miss the first change: it is made again, by one row more, until the
        program inside prints it."""
        for more in range(8):
            self.resize(rows + more, columns)
            os.kill(self.process.pid, signal.SIGWINCH)
            try:
                return self.expect(f'{rows + more} {columns}', seconds=2)
            except Failed:
                continue
        raise Failed(f'terminal: the size inside never changed: {tail(self.seen)!r}')

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern, seconds=20):
        """Reads until the pattern appears; what came after it stays for the next call."""
        end = time.monotonic() + seconds * in_guest.SLOWER
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            left = end - time.monotonic()
            check(left > 0 and self.read(left), f'terminal: no {pattern!r} in {tail(self.seen)!r}')

    def read(self, seconds):
        ready, _, _ = select.select([self.master], [], [], max(seconds, 0))
        if not ready:
            return False
        try:
            got = os.read(self.master, 65536)
        except OSError:  # EIO: the last program has closed the other side
            got = b''
        self.seen += got.decode(errors='replace')
        return bool(got)

    def end(self, seconds=20):
        """Waits for the program's end: its exit status and what it still printed."""
        end = time.monotonic() + seconds * in_guest.SLOWER
        while self.read(end - time.monotonic()):
            pass
        try:
            return self.process.wait(max(end - time.monotonic(), 1)), self.seen
        except subprocess.TimeoutExpired:
            check(False, f'terminal: no end after {seconds} s: {tail(self.seen)}')


def take(slave):
    """The slave becomes the controlling terminal of the new session."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
