"""moesifdjango: a Django site in one file, whose calls are reported. It calls itself a few times, and ends."""

import os
import sys
import threading
import time

import httpx
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

if not {"CATCHMENT_URL", "CATCHMENT_APPLICATION_ID"} <= os.environ.keys():
    sys.exit("Set CATCHMENT_URL (such as http://127.0.0.1:8080) and CATCHMENT_APPLICATION_ID (see `catchment keys`).")

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["moesifdjango.middleware.moesif_middleware"],
    MOESIF_MIDDLEWARE={
        "APPLICATION_ID": os.environ["CATCHMENT_APPLICATION_ID"],
        "BASE_URI": os.environ["CATCHMENT_URL"],
        "IDENTIFY_USER": lambda request, response: request.headers.get("x-user"),
    },
)


def item(request: HttpRequest, number: int) -> JsonResponse:
    return JsonResponse({"item": number})


urlpatterns = [path("items/<int:number>", item)]
server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
server.set_app(get_wsgi_application())
threading.Thread(target=server.serve_forever).start()
for number in range(5):
    httpx.get(f"http://127.0.0.1:{server.server_port}/items/{number}", headers={"x-user": "django-user"})
time.sleep(6)  # the client sends every two seconds, but not at its end
server.shutdown()
print("Made 5 calls.")
