"""moesifwsgi: a Flask application whose calls are reported. It calls itself a few times, and ends."""

import os
import sys
import threading
import time

import httpx
from flask import Flask
from moesifwsgi import MoesifMiddleware
from werkzeug.serving import make_server

if not {"CATCHMENT_URL", "CATCHMENT_APPLICATION_ID"} <= os.environ.keys():
    sys.exit("Set CATCHMENT_URL (such as http://127.0.0.1:8080) and CATCHMENT_APPLICATION_ID (see `catchment keys`).")

app = Flask(__name__)


@app.get("/items/<int:number>")
def item(number: int) -> dict[str, int]:
    return {"item": number}


app.wsgi_app = MoesifMiddleware(  # type: ignore[method-assign]
    app.wsgi_app,
    {
        "APPLICATION_ID": os.environ["CATCHMENT_APPLICATION_ID"],
        "BASE_URI": os.environ["CATCHMENT_URL"],
        "IDENTIFY_USER": lambda app, environ, headers=None: environ.get("HTTP_X_USER"),
    },
)
server = make_server("127.0.0.1", 0, app)
threading.Thread(target=server.serve_forever).start()
for number in range(5):
    httpx.get(f"http://127.0.0.1:{server.server_port}/items/{number}", headers={"x-user": "flask-user"})
time.sleep(4)  # the client sends every two seconds
server.shutdown()
print("Made 5 calls.")
