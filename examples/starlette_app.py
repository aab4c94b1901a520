"""moesifasgi: a Starlette application whose calls are reported. It calls itself a few times, and ends."""

import os
import sys
import threading
import time

import httpx
import uvicorn
from moesifasgi import MoesifMiddleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

if not {"CATCHMENT_URL", "CATCHMENT_APPLICATION_ID"} <= os.environ.keys():
    sys.exit("Set CATCHMENT_URL (such as http://127.0.0.1:8080) and CATCHMENT_APPLICATION_ID (see `catchment keys`).")


async def item(request: Request) -> JSONResponse:
    return JSONResponse({"item": request.path_params["number"]})


app = Starlette(routes=[Route("/items/{number:int}", item)])
app.add_middleware(
    MoesifMiddleware,
    settings={
        "APPLICATION_ID": os.environ["CATCHMENT_APPLICATION_ID"],
        "BASE_URI": os.environ["CATCHMENT_URL"],
        "IDENTIFY_USER": lambda request, response: request.headers.get("x-user"),
    },
)
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
threading.Thread(target=server.run).start()
while not server.started:
    time.sleep(0.1)
port = server.servers[0].sockets[0].getsockname()[1]
for number in range(5):
    httpx.get(f"http://127.0.0.1:{port}/items/{number}", headers={"x-user": "starlette-user"})
time.sleep(4)  # the client sends once a second, but not at its end
server.should_exit = True
print("Made 5 calls.")
