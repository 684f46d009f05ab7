"""Changes text to upper case: a plugin that is a program of its own. host/PROTOCOL.md says how."""

import base64, collections, hmac, json, math, os, signal, socket, socketserver, sys, threading, time
from http.server import BaseHTTPRequestHandler

MAX_BODY = 16 << 20
HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "plugin.json"), encoding="utf-8") as file:
    MANIFEST = file.read()


class Failed(Exception):
    def __init__(self, code, message):
        self.error = {"code": code, "message": message}


def text(value, name):
    if not isinstance(value, str):
        raise Failed("ctx.type", f"`{name}` is not text")
    return value


def execute(label, values, ask, cancelled):
    """Answers a call. Returns the values to set."""
    name = {"upper": "text", "upper_all": "texts"}.get(label)
    if name is None:
        raise Failed("call.no_route", f"no label `{label}`; the plugin has `upper`, `upper_all`")
    if name not in values:
        raise Failed("ctx.missing", f"no value under `{name}`")
    if label == "upper":
        return {name: text(values[name], name).upper()}
    if not isinstance(values[name], list):
        raise Failed("ctx.type", f"`{name}` is not a list")
    ask({"log": {"level": "info", "message": f"{len(values[name])} texts"}})
    changed = []
    for value in values[name]:
        if cancelled():
            raise Failed("call.cancelled", "the caller gave up")
        changed.append(text(value, name).upper())
        ask({"progress": {"done": len(changed), "total": len(values[name])}})
    return {name: changed}


def decode(value):
    """A value, from how it is written."""
    if isinstance(value, list):
        return [decode(element) for element in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(key, inner)] = value.items()
        if key == "$bytes":
            return base64.b64decode(inner, validate=True)
        if key == "$f64":
            return float(inner)
        if key == "$map":
            value = inner
    return {key: decode(inner) for key, inner in value.items()}


def encode(value):
    """How a value is written."""
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$f64": str(value)}
    if isinstance(value, list):
        return [encode(element) for element in value]
    if isinstance(value, dict):
        inner = {key: encode(element) for key, element in value.items()}
        return {"$map": inner} if any(key.startswith("$") for key in inner) else inner
    return value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = None

    def answer(self, status, body=b"", kind="application/json"):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status):
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def is_admitted(self):
        shown = self.headers.get("Authorization", "").encode()
        token = self.server.config.get("token")
        return token is None or hmac.compare_digest(shown, b"Bearer " + token.encode())

    def do_GET(self):
        if not self.is_admitted():
            self.refuse(401)
        elif self.path == "/healthz":
            self.answer(503 if self.server.ending.is_set() else 200)
        else:
            self.answer(404)

    def do_POST(self):
        lengths = self.headers.get_all("Content-Length", ["0"])
        if not self.is_admitted():
            return self.refuse(401)
        if len(lengths) != 1 or not lengths[0].isdecimal() or "Transfer-Encoding" in self.headers:
            return self.refuse(400)
        if int(lengths[0]) > MAX_BODY:
            return self.refuse(413)
        try:
            body = json.loads(self.rfile.read(int(lengths[0])) or b"null")
            if self.path == "/execute":
                return self.execute(body["id"], body["label"], body["values"])
            if self.path == "/cancel":
                self.server.cancelled.append(body["id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return self.refuse(400)
        try:
            self.answer(204 if self.path in ("/cancel", "/reply", "/shutdown") else 404)
        finally:
            # Also if whoever asked did not wait for the answer.
            if self.path == "/shutdown":
                self.server.ending.set()

    def execute(self, call, label, values):
        if not self.server.begin():
            return self.answer(503)
        try:
            self.lines = False
            outcome = {"id": call}
            try:
                values = {key: decode(value) for key, value in values.items()}
                cancelled = lambda: call in self.server.cancelled
                values = execute(label, values, self.ask, cancelled)
                outcome["set"] = {key: encode(value) for key, value in values.items()}
            except Failed as failed:
                outcome["error"] = failed.error
            except Exception as error:
                outcome["error"] = {"code": "call.panicked", "message": repr(error)}
            body = json.dumps(outcome).encode()
            if self.lines:
                self.chunk(body + b"\n")
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.answer(200, body)
        finally:
            self.server.finish()

    def ask(self, line):
        if not self.lines:
            self.lines = True
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        self.chunk(json.dumps(line).encode() + b"\n")

    def chunk(self, piece):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def log_message(self, *_):
        pass


class Calls:
    """What the handlers share."""

    daemon_threads = True
    request_queue_size = 128

    def prepare(self, config):
        self.config, self.ending = config, threading.Event()
        # The last ones will do: also what was cancelled before it came, or after it was answered, is in here.
        self.cancelled = collections.deque(maxlen=256)
        self.changed, self.running = threading.Condition(), 0

    def begin(self):
        with self.changed:
            self.running += not self.ending.is_set()
            return not self.ending.is_set()

    def finish(self):
        with self.changed:
            self.running -= 1
            self.changed.notify_all()


class UnixServer(Calls, socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass


class TcpServer(Calls, socketserver.ThreadingMixIn, socketserver.TCPServer):
    def get_request(self):
        connection, peer = super().get_request()
        # An answer is written in several pieces, of which none is to wait for the others.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, peer


def follow_host():
    """Until the end of standard input: then the host is gone."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def main():
    config = json.loads(sys.stdin.buffer.raw.readline(1 << 20))
    kind, _, place = config["address"].partition(":")
    if kind == "unix":
        server = UnixServer(place, Handler)
    else:
        host, _, port = place.rpartition(":")
        server = TcpServer((host, int(port)), Handler)
        place = f"{host}:{server.server_address[1]}"
    server.prepare(config)

    def terminate(*_):
        if server.ending.is_set():
            os._exit(1)
        server.ending.set()

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    threading.Thread(target=follow_host, daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    start = {"plg": 1, "plugin": config["plugin"], "nonce": config["nonce"]}
    start.update(version=json.loads(MANIFEST)["version"], address=f"{kind}:{place}")
    print(json.dumps(start), flush=True)

    server.ending.wait()
    with server.changed:
        over = server.changed.wait_for(lambda: server.running == 0, timeout=5)
    # What was just answered is on its way already; what hangs does not hold up the exit.
    os._exit(0 if over else 1)


if __name__ == "__main__":
    if sys.argv[-1] == "capabilities":
        print(MANIFEST)
    else:
        main()
