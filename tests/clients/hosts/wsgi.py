"""A Flask application with moesifwsgi."""

from typing import Any

from flask import Flask, request
from flask.typing import ResponseReturnValue
from moesifapi.models import CompanyModel, UserModel
from moesifwsgi import MoesifMiddleware

from tests.clients.hosts import host

host.log_as_json()
app = Flask(__name__)


@app.get("/items/<int:number>")
def item(number: int) -> ResponseReturnValue:
    return {"item": number}


@app.post("/orders")
def order() -> ResponseReturnValue:
    return {"order": request.get_json()}, 201


@app.get("/text")
@app.get("/health")
def text() -> ResponseReturnValue:
    return "plain text", 200, {"content-type": "text/plain"}


@app.get("/failure")
def failure() -> ResponseReturnValue:
    return {"reason": "out of stock"}, 503


@app.post("/profiles")
def profiles() -> ResponseReturnValue:
    middleware.update_user({"user_id": "u1", "company_id": "c1", "metadata": {"plan": "pro"}})
    middleware.update_users_batch([UserModel(user_id="u1", metadata={"seats": 3}), UserModel(user_id="u2")])
    middleware.update_company({"company_id": "c1", "company_domain": "acme.com"})
    middleware.update_companies_batch([CompanyModel(company_id="c1", metadata={"size": 9})])
    return {}


def header(name: str) -> Any:
    return lambda app, environ, answered=None: environ.get(f"HTTP_{name}")


middleware = MoesifMiddleware(
    app.wsgi_app,
    {
        "APPLICATION_ID": host.APPLICATION_ID,
        "BASE_URI": host.URL,
        "DEBUG": True,
        "API_VERSION": "1.2",
        "IDENTIFY_USER": header("X_USER"),
        "IDENTIFY_COMPANY": header("X_COMPANY"),
        "GET_SESSION_TOKEN": header("X_SESSION"),
        "GET_METADATA": lambda app, environ: {"region": "eu"},
        "SKIP": lambda app, environ: environ["PATH_INFO"] == "/health",
        "EVENT_BATCH_TIMEOUT": 1,
        "EVENT_WORKER_COUNT": 1,  # one after the other, so that a test knows when all were sent
    },
)
host.serve(middleware)
