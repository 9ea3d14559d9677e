"""A plugin of the Node Resource Interface, which containerd asks about each container before it makes it.

One socket carries two connections of ttrpc, in frames of eight bytes (connection, length) and a piece of that connection: on the
first containerd calls the plugin, on the second the plugin registers itself."""
import queue
import socket
import struct
import threading

from harness import Failed, check
from ttrpc import HEAD, REQUEST, RESPONSE, frame
from wire import decode, encode

OF_PLUGIN, OF_RUNTIME = 1, 2
PIECE = struct.Struct('>II')
# Bits of what a plugin wants to be asked or told.
CREATE, START, STOP, REMOVE = 1 << 3, 1 << 5, 1 << 9, 1 << 10
KINDS = {6: 'start', 11: 'remove'}


class Plugin:
    """Answers each creation of a container named `name` by `adjust`, a message ContainerAdjustment."""

    def __init__(self, path, name, adjust):
        self.name, self.adjust, self.seen = name, adjust, []
        self.buffers, self.registered, self.ready = {OF_PLUGIN: b'', OF_RUNTIME: b''}, queue.Queue(), queue.Queue()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        threading.Thread(target=self.receive, daemon=True).start()
        payload = encode('RegisterPluginRequest', {'plugin_name': 'tried', 'plugin_idx': '10'})
        request = encode('TtrpcRequest', {'service': 'nri.pkg.api.v1alpha1.Runtime', 'method': 'RegisterPlugin', 'payload': payload})
        self.send(OF_RUNTIME, frame(1, REQUEST, request))
        try:
            status = decode('TtrpcResponse', self.registered.get(timeout=20))['status'] or {'code': 0}
            check(not status['code'], f'RegisterPlugin: {status}')
            self.ready.get(timeout=20)
        except queue.Empty:
            raise Failed('containerd does not answer a plugin') from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def send(self, connection, data):
        self.socket.sendall(PIECE.pack(connection, len(data)) + data)

    def receive(self):
        try:
            while True:
                connection, length = PIECE.unpack(self.exactly(PIECE.size))
                self.buffers[connection] += self.exactly(length)
                self.take(connection)
        except (OSError, EOFError):
            pass

    def exactly(self, count):
        data = b''
        while len(data) < count:
            got = self.socket.recv(count - len(data))
            if not got:
                raise EOFError
            data += got
        return data

    def take(self, connection):
        """The whole frames of ttrpc that have come."""
        while len(self.buffers[connection]) >= HEAD.size:
            length, stream, kind, _ = HEAD.unpack(self.buffers[connection][:HEAD.size])
            if len(self.buffers[connection]) < HEAD.size + length:
                return
            payload = self.buffers[connection][HEAD.size:HEAD.size + length]
            self.buffers[connection] = self.buffers[connection][HEAD.size + length:]
            if connection == OF_RUNTIME:
                self.registered.put(payload)
            elif kind == REQUEST:
                request = decode('TtrpcRequest', payload)
                answer = encode('TtrpcResponse', {'payload': self.asked(request['method'], request['payload'])})
                self.send(OF_PLUGIN, frame(stream, RESPONSE, answer))
                if request['method'] == 'Synchronize':
                    self.ready.put(None)

    def asked(self, method, payload):
        if method == 'Configure':
            return encode('ConfigureResponse', {'events': CREATE | START | STOP | REMOVE})
        if method == 'StateChange':
            told = decode('StateChangeEvent', payload)
            if told['container'] and told['container']['name'] == self.name:
                self.seen.append(KINDS.get(told['event'], str(told['event'])))
        if method in ('CreateContainer', 'StopContainer'):
            if decode('NriContainerRequest', payload)['container']['name'] == self.name:
                self.seen.append(method.removesuffix('Container').lower())
                return encode('NriCreateResponse', {'adjust': self.adjust}) if method == 'CreateContainer' else b''
        return b''
