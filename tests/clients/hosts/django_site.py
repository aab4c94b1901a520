"""A Django site with moesifdjango, with sessions and users but without a database."""

import json
import logging
from typing import Any

import django
from django.conf import settings

from tests.clients.hosts import host

host.log_as_json()
logging.getLogger("django.request").setLevel(logging.CRITICAL)  # it logs each 4xx and 5xx, which tests ask for


def header(name: str) -> Any:
    return lambda request, response: request.headers.get(name)


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "moesifdjango.middleware.moesif_middleware",
    ],
    MOESIF_MIDDLEWARE={
        "APPLICATION_ID": host.APPLICATION_ID,
        "BASE_URI": host.URL,
        "LOCAL_DEBUG": True,
        "API_VERSION": "1.2",
        "IDENTIFY_USER": header("X-User"),
        "IDENTIFY_COMPANY": header("X-Company"),
        "GET_SESSION_TOKEN": header("X-Session"),
        "GET_METADATA": lambda request, response: {"region": "eu"},
        "SKIP": lambda request, response: request.path == "/health",
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="of no use",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
django.setup()

# Only what follows may be imported before the settings stand.
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from moesifapi.models import CompanyModel, SubscriptionModel, UserModel  # noqa: E402
from moesifdjango.middleware import moesif_middleware  # noqa: E402


def item(request: HttpRequest, number: int) -> Any:
    return JsonResponse({"item": number})


def order(request: HttpRequest) -> Any:
    return JsonResponse({"order": json.loads(request.body)}, status=201)


def text(request: HttpRequest) -> Any:
    return HttpResponse("plain text", content_type="text/plain")


def failure(request: HttpRequest) -> Any:
    return JsonResponse({"reason": "out of stock"}, status=503)


def profiles(request: HttpRequest) -> Any:
    client = moesif_middleware(None)
    client.update_user({"user_id": "u1", "company_id": "c1", "metadata": {"plan": "pro"}})
    client.update_users_batch([UserModel(user_id="u1", metadata={"seats": 3}), UserModel(user_id="u2")])
    client.update_company({"company_id": "c1", "company_domain": "acme.com"})
    client.update_companies_batch([CompanyModel(company_id="c1", metadata={"size": 9})])
    client.update_subscription({"subscription_id": "s1", "company_id": "c1", "status": "active"})
    client.update_subscriptions_batch([SubscriptionModel("s1", "c1", status="paused", metadata={"seats": 5})])
    return JsonResponse({})


urlpatterns = [
    path("items/<int:number>", item),
    path("orders", order),
    path("text", text),
    path("failure", failure),
    path("profiles", profiles),
    path("health", text),
]
if __name__ == "__main__":
    host.serve(get_wsgi_application())
