"""A Starlette application with moesifasgi."""

import socket
import threading
from typing import Any

import uvicorn
from moesifapi.models import CompanyModel, UserModel
from moesifasgi import MoesifMiddleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.clients.hosts import host

host.log_as_json()


async def item(request: Request) -> Response:
    return JSONResponse({"item": int(request.path_params["number"])})


async def order(request: Request) -> Response:
    return JSONResponse({"order": await request.json()}, status_code=201)


async def text(request: Request) -> Response:
    return PlainTextResponse("plain text")


async def failure(request: Request) -> Response:
    return JSONResponse({"reason": "out of stock"}, status_code=503)


def profiles(request: Request) -> Response:
    middleware.update_user({"user_id": "u1", "company_id": "c1", "metadata": {"plan": "pro"}})
    middleware.update_users_batch([UserModel(user_id="u1", metadata={"seats": 3}), UserModel(user_id="u2")])
    middleware.update_company({"company_id": "c1", "company_domain": "acme.com"})
    middleware.update_companies_batch([CompanyModel(company_id="c1", metadata={"size": 9})])
    return JSONResponse({})


async def identify_user(request: Request, response: Any) -> str | None:
    return request.headers.get("x-user")


def identify_company(request: Request, response: Any) -> str | None:
    return request.headers.get("x-company")


async def get_session_token(request: Request, response: Any) -> str | None:
    return request.headers.get("x-session")


app = Starlette(
    routes=[
        Route("/items/{number}", item),
        Route("/orders", order, methods=["POST"]),
        Route("/text", text),
        Route("/failure", failure),
        Route("/profiles", profiles, methods=["POST"]),
        Route("/health", text),
    ]
)
middleware = MoesifMiddleware(
    app,
    settings={
        "APPLICATION_ID": host.APPLICATION_ID,
        "BASE_URI": host.URL,
        "DEBUG": True,
        "API_VERSION": "1.2",
        "IDENTIFY_USER": identify_user,
        "IDENTIFY_COMPANY": identify_company,
        "GET_SESSION_TOKEN": get_session_token,
        "GET_METADATA": lambda request, response: {"region": "eu"},
        "SKIP": lambda request, response: request.url.path == "/health",
    },
)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(middleware, log_config=None, access_log=False))

    def wait() -> None:
        host.until_hung_up()
        server.should_exit = True

    threading.Thread(target=wait, daemon=True).start()
    host.announce(listener.getsockname()[1])
    server.run(sockets=[listener])


main()
