"""A registry that refuses: over HTTP, and over TLS with a certificate that nobody knows."""
import http.server
import ssl
import subprocess
import threading

ANSWERS = {
    'nosuch': (404, '{"errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known to registry"}]}'),
    'private': (401, '{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}'),
    'forbidden': (403, '{"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}'),
    'busy': (429, '{"errors": [{"code": "TOOMANYREQUESTS", "message": "you have reached your pull rate limit"}]}'),
    'broken': (500, 'internal error'),
    'page': (200, '<html><body>Sign in</body></html>'),
}


class Answer(http.server.BaseHTTPRequestHandler):
    def answer(self):
        words = self.path.split('/')
        code, text = ANSWERS.get(words[2], (404, '{}')) if len(words) > 2 and words[2] else (401, '{}')
        self.send_response(code)
        if code == 401:
            self.send_header('WWW-Authenticate', 'Basic realm="registry"')
        self.send_header('Content-Type', 'text/html' if code == 200 else 'application/json')
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(text.encode())

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


def serve(directory):
    """Starts both; returns their ports."""
    key, certificate = f'{directory}/key', f'{directory}/certificate'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE', '-keyout', key, '-out', certificate],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return [port(None), port(context)]


def port(context):
    server = http.server.ThreadingHTTPServer(('0.0.0.0', 0), Answer)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]
