"""What of Cloudflare's management API isn't here: refused by name."""

from typing import NoReturn

from lowcloud.gateway.errors import FeatureUnsupported
from lowcloud.http.call import Call, Handler

# By the path below the API's own: what it is, and which methods clients use there.
ABSENT = (
    ("/billing/{item...}", "billing", "nothing is sold here, so there are no credits and no bills", "GET POST DELETE"),
    ("/evaluation-types", "evaluations", "nothing is evaluated here yet", "GET"),
    ("/gateways/{gateway_id}/evaluations", "evaluations", "nothing is evaluated here yet", "GET POST"),
    (
        "/gateways/{gateway_id}/evaluations/{evaluation_id}",
        "evaluations",
        "nothing is evaluated here yet",
        "GET DELETE",
    ),
    ("/gateways/{gateway_id}/datasets", "datasets", "there are none here yet; logs can be exported", "GET POST"),
    ("/gateways/{gateway_id}/datasets/{dataset_id}", "datasets", "there are none here yet", "GET PUT DELETE"),
    ("/gateways/{gateway_id}/routes", "dynamic routes", "there are none here yet", "GET POST"),
    ("/gateways/{gateway_id}/routes/{route...}", "dynamic routes", "there are none here yet", "GET POST PATCH DELETE"),
    ("/gateways/{gateway_id}/policies", "policies", "there are none here yet", "GET POST"),
    ("/gateways/{gateway_id}/policies/{policy...}", "policies", "there are none here yet", "GET POST PUT DELETE"),
    ("/gateways/{gateway_id}/run/{run...}", "resumable runs", "a stream isn't kept to be gone on with yet", "GET"),
)


def absent(what: str, why: str) -> Handler:
    """Refuses it, in the same words wherever it is asked for."""

    async def refuse(_call: Call) -> NoReturn:
        raise FeatureUnsupported(f"{what}: {why}.", param=what)

    return refuse
