"""A program whose calls with `requests` are captured by moesifpythonrequest; it calls `TARGET`, and ends."""

import sys

import requests
from moesifpythonrequest.start_capture.start_capture import StartCapture

from tests.clients.hosts import host

host.log_as_json()
TARGET = sys.argv[3]

StartCapture().start_capture_outgoing(
    {
        "APPLICATION_ID": host.APPLICATION_ID,
        "LOCAL_DEBUG": True,  # without it the next line is ignored
        "LOCAL_MOESIF_BASEURL": host.URL,
        "API_VERSION": "1.2",
        "IDENTIFY_USER_OUTGOING": lambda request, response: request.headers.get("x-user"),
        "IDENTIFY_COMPANY_OUTGOING": lambda request, response: "c1",
        "GET_SESSION_TOKEN_OUTGOING": lambda request, response: request.headers.get("x-session"),
        "GET_METADATA_OUTGOING": lambda request, response: {"region": "eu"},
        "SKIP_OUTGOING": lambda request, response: request.url.endswith("/health"),
    }
)

requests.get(f"{TARGET}/items/1?x=1", headers={"x-user": "u1", "x-session": "tok"}, timeout=30)
requests.post(f"{TARGET}/orders", json={"n": 2}, headers={"x-user": "u2"}, timeout=30)
requests.get(f"{TARGET}/text", headers={"x-user": "u3", "authorization": "Bearer secret"}, timeout=30)
requests.get(f"{TARGET}/health", timeout=30)
with requests.Session() as session:
    for _ in range(10):
        session.get(f"{TARGET}/items/2", headers={"x-user": "u4"}, timeout=30)
