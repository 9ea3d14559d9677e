"""The streams of `exec` and `attach` as Kubernetes has them: a WebSocket whose messages begin with a channel."""
import base64
import json
import os
import re
import socket
import struct
import time
import urllib.parse

from harness import Failed, check, tail

STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


class Stream:
    """A connection to the address that Exec or Attach has answered."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=20)
        self.channels = {channel: b'' for channel in range(5)}
        self.closed = False
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f'GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n'
                             f'Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n'
                             f'Origin: http://{parts.netloc}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n').encode())
        self.buffer = b''
        while b'\r\n\r\n' not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b'\r\n\r\n', 1)
        check(head.startswith(b'HTTP/1.1 101'), f'stream: {tail(head.decode(errors="replace"))}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def more(self):
        got = self.socket.recv(65536)
        check(got, 'stream: the other side has hung up')
        self.buffer += got

    def take(self, count):
        while len(self.buffer) < count:
            self.more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def send(self, channel, data):
        self.frame(BINARY, bytes([channel]) + data)

    def frame(self, kind, payload):
        mask = os.urandom(4)
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + struct.pack('>H', len(payload))
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.socket.sendall(bytes([0x80 | kind]) + length + mask + masked)

    def receive(self):
        """One message to its channel; False when there will be no more."""
        if self.closed:
            return False
        first, second = self.take(2)
        length = second & 0x7f
        if length > 125:
            length, = struct.unpack('>H' if length == 126 else '>Q', self.take(2 if length == 126 else 8))
        payload = self.take(length)
        if first & 15 == CLOSE:
            self.closed = True
        elif first & 15 == PING:
            self.frame(PONG, payload)
        elif payload:
            self.channels[payload[0]] += payload[1:]
        return not self.closed

    def type(self, text):
        self.send(STDIN, text.encode())

    def resize(self, rows, columns):
        self.send(RESIZE, json.dumps({'Width': columns, 'Height': rows}).encode())

    def expect(self, pattern, channel=STDOUT, seconds=20):
        """Reads until the pattern appears; what came after it stays for the next call."""
        end = time.monotonic() + seconds
        while True:
            seen = self.channels[channel].decode(errors='replace')
            found = re.search(pattern, seen)
            if found:
                self.channels[channel] = seen[found.end():].encode()
                return found
            check(time.monotonic() < end and self.receive(), f'stream: no {pattern!r} in {tail(seen)!r}')

    def end(self):
        """Reads to the end: standard output, standard error, exit code."""
        try:
            while self.receive():
                pass
        except (Failed, OSError):
            check(self.channels[STATUS], 'stream: it ended without a status')
        status = json.loads(self.channels[STATUS] or b'{"status": "none"}')
        code = 0
        for cause in status.get('details', {}).get('causes', []):
            if cause.get('reason') == 'ExitCode':
                code = int(cause['message'])
        if status['status'] == 'Failure' and not code:
            raise Failed(f'stream: {status.get("message")}')
        return self.channels[STDOUT].decode(), self.channels[STDERR].decode(), code
