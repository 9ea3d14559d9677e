"""Calls to a shim and the events that it tells, as containerd has them: frames of ten bytes and a message."""
import os
import queue
import socket
import struct
import threading

from harness import Failed, check, tail
from wire import decode, encode

REQUEST, RESPONSE = 1, 2
HEAD = struct.Struct('>IIBB')
# The words of google.rpc.Code that shims use.
CODES = {0: 'OK', 1: 'CANCELLED', 2: 'UNKNOWN', 3: 'INVALID_ARGUMENT', 4: 'DEADLINE_EXCEEDED', 5: 'NOT_FOUND', 6: 'ALREADY_EXISTS',
         8: 'RESOURCE_EXHAUSTED', 9: 'FAILED_PRECONDITION', 12: 'UNIMPLEMENTED', 13: 'INTERNAL', 14: 'UNAVAILABLE'}
# Where a message has another name than `<method>Request`, because the Container Runtime Interface has that one.
NAMES = {'Create': 'CreateTask', 'Start': 'TaskStart', 'Exec': 'TaskExec'}


class Refused(Failed):
    """The shim has answered with an error."""

    def __init__(self, method, code, words):
        super().__init__(f'{method}: {code}: {words}')
        self.code, self.words = code, words


def frame(stream, kind, payload, flags=0):
    return HEAD.pack(len(payload), stream, kind, flags) + payload


def read_frame(connection):
    """(stream, kind, payload), or None at the end."""
    head = exactly(connection, HEAD.size)
    if head is None:
        return None
    length, stream, kind, _ = HEAD.unpack(head)
    return stream, kind, exactly(connection, length)


def exactly(connection, count):
    data = b''
    while len(data) < count:
        got = connection.recv(min(count - len(data), 1 << 20))
        if not got:
            return None
        data += got
    return data


class Shim:
    """A connection to a shim; calls may be under way at the same time."""

    def __init__(self, address, version=2):
        self.service = f'containerd.task.v{version}.Task'
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(address.replace('unix://', '').replace('@', '\0', 1))
        self.lock, self.stream, self.waiting = threading.Lock(), -1, {}
        threading.Thread(target=self.receive, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()

    def receive(self):
        try:
            while True:
                got = read_frame(self.socket)
                if got is None:
                    break
                self.waiting.pop(got[0], queue.Queue()).put(got[2])
        except OSError:
            pass
        for waiting in list(self.waiting.values()):
            waiting.put(None)

    def send(self, method, **fields):
        """A request; where its answer will be."""
        payload = encode(NAMES.get(method, method) + 'Request', fields)
        request = encode('TtrpcRequest', {'service': self.service, 'method': method, 'payload': payload})
        answer = queue.Queue()
        with self.lock:
            self.stream += 2
            self.waiting[self.stream] = answer
            self.socket.sendall(frame(self.stream, REQUEST, request))
        return answer

    def answer(self, method, answer, timeout=60):
        try:
            data = answer.get(timeout=timeout)
        except queue.Empty:
            raise Failed(f'{method}: no answer within {timeout} s') from None
        check(data is not None, f'{method}: the shim has hung up')
        response = decode('TtrpcResponse', data)
        status = response['status'] or {'code': 0}
        if status['code']:
            raise Refused(method, CODES.get(status['code'], status['code']), tail(status['message']))
        return decode(NAMES.get(method, method) + 'Response', response['payload'])

    def call(self, method, /, timeout=60, **fields):
        return self.answer(method, self.send(method, **fields), timeout)

    def code(self, method, /, **fields):
        """How a call is answered, in a word."""
        try:
            self.call(method, **fields)
        except Refused as refused:
            return refused.code
        return 'OK'


class Events:
    """The service that shims tell their events to. It can be away for a while."""

    def __init__(self, path):
        self.path, self.seen, self.listener, self.connections = path, [], None, []
        self.open()

    def open(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def close(self):
        os.unlink(self.path)
        for each in (self.listener, *self.connections):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()
        self.connections = []

    def accept(self, listener):
        try:
            while True:
                connection, _ = listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()
        except OSError:
            pass

    def serve(self, connection):
        try:
            while True:
                got = read_frame(connection)
                if got is None:
                    return
                stream, _, payload = got
                request = decode('TtrpcRequest', payload)
                envelope = decode('ForwardRequest', request['payload'])['envelope']
                self.seen.append((envelope['topic'], envelope['event']['value']))
                connection.sendall(frame(stream, RESPONSE, encode('TtrpcResponse', {'payload': b''})))
        except OSError:
            pass

    def topics(self):
        return [topic for topic, _ in list(self.seen)]

    def exits(self):
        """(process, status) of each end that was told."""
        told = [decode('ExitEvent', value) for topic, value in list(self.seen) if topic == '/tasks/exit']
        return [(each['id'], each['exit_status']) for each in told]
