"""moesifpythonrequest: a program whose own calls to other APIs, made with `requests`, are reported."""

import os
import sys

import requests
from moesifpythonrequest.start_capture.start_capture import StartCapture

if not {"CATCHMENT_URL", "CATCHMENT_APPLICATION_ID"} <= os.environ.keys():
    sys.exit("Set CATCHMENT_URL (such as http://127.0.0.1:8080) and CATCHMENT_APPLICATION_ID (see `catchment keys`).")

StartCapture().start_capture_outgoing(
    {
        "APPLICATION_ID": os.environ["CATCHMENT_APPLICATION_ID"],
        "LOCAL_DEBUG": True,  # this client minds the next line only when debugging
        "LOCAL_MOESIF_BASEURL": os.environ["CATCHMENT_URL"],
        "IDENTIFY_USER_OUTGOING": lambda request, response: "requests-user",
    }
)

# Any API will do; Catchment itself is one that is surely there.
for _ in range(3):
    print(requests.get(os.environ["CATCHMENT_URL"] + "/health/probe", timeout=10).status_code)
