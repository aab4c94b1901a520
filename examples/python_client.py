"""moesifapi: a program that reports an API call, a user and a company by itself."""

import os
import sys
from datetime import UTC, datetime

from moesifapi.configuration import Configuration
from moesifapi.models import CompanyModel, EventModel, EventRequestModel, EventResponseModel, UserModel
from moesifapi.moesif_api_client import MoesifAPIClient

if not {"CATCHMENT_URL", "CATCHMENT_APPLICATION_ID"} <= os.environ.keys():
    sys.exit("Set CATCHMENT_URL (such as http://127.0.0.1:8080) and CATCHMENT_APPLICATION_ID (see `catchment keys`).")

Configuration.BASE_URI = os.environ["CATCHMENT_URL"]
client = MoesifAPIClient(os.environ["CATCHMENT_APPLICATION_ID"]).api

now = datetime.now(UTC)
client.create_event(
    EventModel(
        request=EventRequestModel(
            time=now, uri="https://api.shop.example/orders", verb="POST", headers={}, body={"item": "boots"}
        ),
        response=EventResponseModel(time=now, status=201, headers={}, body={"order": 1}),
        user_id="python-client-user",
        company_id="python-client-company",
        metadata={"plan": "free"},
    )
)
client.update_user(
    UserModel(user_id="python-client-user", company_id="python-client-company", metadata={"name": "Ana"})
)
client.update_company(CompanyModel(company_id="python-client-company", company_domain="shop.example"))
print("Sent an API call, a user and a company.")
