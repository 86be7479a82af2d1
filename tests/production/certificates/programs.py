"""Programs that run in pods, as text: they need Python and the modules of the agents' image."""

HOST = "lighthouse-bridge.lighthouse.svc.cluster.local"
FILES = "/etc/lighthouse/bridge-tls"
KEY = "/etc/lighthouse/key/key"
COUNTER = "certificates/counter.txt"

TRY = """
import http.client, json, ssl, sys
from pathlib import Path
host, authority, certificate = sys.argv[1:4]
try:
    if authority:
        context = ssl.create_default_context(cafile=authority)
        if certificate:
            context.load_cert_chain(f"{certificate}/tls.crt", f"{certificate}/tls.key")
        connection = http.client.HTTPSConnection(host, 8765, timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection(host, 8765, timeout=10)
    connection.request("GET", "/health")
    print(connection.getresponse().status)
except Exception as error:
    print(type(error).__name__, error)
"""
"""Ask once; prints the status or the error. Arguments: host, ca.crt or nothing for plain text, folder of a certificate."""

SEE = """
import hashlib, json, socket, ssl, sys
host, port, files = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=f"{files}/ca.crt")
context.load_cert_chain(f"{files}/tls.crt", f"{files}/tls.key")
with socket.create_connection((host, port), timeout=10) as plain:
    with context.wrap_socket(plain, server_hostname=host) as wrapped:
        print(json.dumps([wrapped.getpeercert()["serialNumber"], wrapped.version()]))
"""
"""The serial number of the certificate that a server shows, and the version of TLS. Arguments: host, port, folder."""

PING = """
import socket, ssl, sys
host, files, certificate = sys.argv[1:4]
context = ssl.create_default_context(cafile=f"{files}/ca.crt")
if certificate:
    context.load_cert_chain(f"{certificate}/tls.crt", f"{certificate}/tls.key")
try:
    with socket.create_connection((host, 6379), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=host) as wrapped:
            wrapped.sendall(b"PING\\r\\n")
            print(wrapped.recv(100).decode().strip())
except OSError as error:
    print(type(error).__name__, error)
"""
"""What Redis says to who gives no password. Arguments: host, folder with ca.crt, folder of a certificate or nothing."""

LOAD = """
import json, socket, ssl, sys, threading, time
from pathlib import Path
from lighthouse_agent.bridge_pool import BridgePool
host, key, files, counter, seconds = sys.argv[1:6]
end = time.monotonic() + float(seconds)
base = f"https://{host}:8765"
folder = Path(files)
secret = Path(key).read_text().strip()
lock = threading.Lock()
asked = {"kept": 0, "new": 0, "written": 0}
failed, shown = [], {}

def told(kind, work):
    try:
        work()
        with lock:
            asked[kind] += 1
    except Exception as error:
        with lock:
            failed.append(f"{time.strftime('%H:%M:%S')} {kind} {type(error).__name__} {error}"[:300])

class Client:
    def __init__(self, name):
        self.name = name
        self.pool = BridgePool(folder, retries=False)
        body = json.dumps({"agent_id": name, "metadata": {}})
        found = self.send("/session/create", body, secret)
        self.token = json.loads(found.data)["session_token"]

    def send(self, path, body, token):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = self.pool.request("POST", base + path, body=body, headers=headers, timeout=10)
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status} {answer.data[:100]}")
        return answer

def keep():
    client = Client("certificates-keeper")
    body = json.dumps({"tool_name": "Bash", "tool_input": {"command": "ls -la"}, "agent_id": client.name})
    while time.monotonic() < end:
        told("kept", lambda: client.send("/validate", body, client.token))
        time.sleep(0.05)

def connect():
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    with socket.create_connection((host, 8765), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=host) as wrapped:
            wrapped.sendall(f"GET /health HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
            if not wrapped.recv(100).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("not 200")
            serial = wrapped.getpeercert()["serialNumber"]
    with lock:
        shown.setdefault(serial, time.time())

def renew():
    while time.monotonic() < end:
        told("new", connect)
        time.sleep(0.1)

def write():
    client = Client("certificates-writer")
    number = 0
    while time.monotonic() < end:
        number += 1
        body = {"operation": "update", "file_path": counter, "agent_id": client.name, "content": str(number)}
        told("written", lambda: client.send("/shadow/update", json.dumps(body), client.token))
        time.sleep(0.5)

threads = [threading.Thread(target=work) for work in (keep, renew, write)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"asked": asked, "failed": failed, "shown": shown}))
"""
"""Clients that keep connections, make new ones and write a file, with certificates that change below them.
Arguments: host, key, folder, the file, seconds."""

READ = """
import json, sys, time
from pathlib import Path
path, seconds = Path(sys.argv[1]), float(sys.argv[2])
begin = time.time()
seen, failed = [], []
while time.time() < begin + seconds:
    try:
        number = int(path.read_text())
        if not seen or seen[-1][1] != number:
            seen.append([time.time(), number])
    except Exception as error:
        failed.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__} {error}")
    time.sleep(0.2)
print(json.dumps({"seen": seen, "failed": failed}))
"""
"""An agent that reads a file again and again. Arguments: the file, seconds."""

SCRAPE = """
import json, socket, ssl, sys
port, host = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cadata=sys.stdin.read())
with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
    with context.wrap_socket(plain, server_hostname=host) as wrapped:
        serial, version = wrapped.getpeercert()["serialNumber"], wrapped.version()
        wrapped.sendall(f"GET /metrics HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
        said = b""
        while more := wrapped.recv(65536):
            said += more
print(json.dumps([serial, version, said.decode()]))
"""
"""Scrape a port of the pod over TLS, as Prometheus does. Arguments: port, host to verify; the authority on stdin."""
