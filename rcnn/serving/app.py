"""The paths of the server: what each takes, gives and refuses."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from rcnn.errors import first_line
from rcnn.serving.answers import Answer, Health, Model, Problem, answer, wanted_classes
from rcnn.serving.limits import RefusedError
from rcnn.serving.metrics import CONTENT_TYPE
from rcnn.serving.observed import Observed
from rcnn.serving.service import Found, Service
from rcnn.serving.uploads import read_uploads

log = logging.getLogger(__name__)
T = TypeVar("T")
PAGE = Path(__file__).with_name("page.html")
SELF_CONTAINED = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
REFUSALS = {
    400: "The form cannot be read.",
    408: "The body came too slowly.",
    413: "Too many bytes, pixels or pictures.",
    415: "Not a picture, or none of a kind that is decoded.",
    422: "A picture that is broken, or a parameter out of range.",
    500: "The detector failed.",
    503: "Too much to do, or the server is ending: come back after Retry-After seconds.",
    504: "Not done within the time limit.",
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
Score = Annotated[float | None, Query(ge=0, le=1, description="Least score of a detection.")]
Classes = Annotated[list[str] | None, Query(description="These alone; repeated, or with commas between them.")]
Most = Annotated[int | None, Query(ge=1, description="So many of a picture, the best.")]


def create_app(service: Service) -> FastAPI:
    """The application of a service, which begins and ends with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    summary = f"Objects in pictures, by {service.name}."
    # No pages that show the API: they load their scripts from elsewhere.
    app = FastAPI(title="rcnn", summary=summary, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Observed, metrics=service.metrics)
    for kind in (RefusedError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _refused)
    _add_detection(app, service)
    _add_facts(app, service)
    return app


def _add_detection(app: FastAPI, service: Service) -> None:
    limits = service.limits

    @app.post(
        "/detect",
        openapi_extra=BODY,
        responses={code: {"model": Problem, "description": text} for code, text in REFUSALS.items()},
    )
    async def detect(
        request: Request, score: Score = None, classes: Classes = None, max_detections: Most = None
    ) -> Answer:
        """The objects in one picture, sent as the body, or in several, sent as the files of a form."""
        least = service.least if score is None else score
        try:
            wanted = wanted_classes(classes or (), service.class_names)
            service.refuse_if_not_taking()
            with service.ledger.share() as share:
                pictures = await read_uploads(request, limits, share.take)
                began = time.monotonic()
                found = await _unless_gone(request, service.detect(pictures, share))
                return answer(found, wanted, least, max_detections, time.monotonic() - began)
        except RefusedError:
            raise
        except Exception as error:
            log.warning("POST /detect failed: %s: %s", type(error).__name__, first_line(error))
            log.debug("where it came from:", exc_info=True)
            raise RefusedError(500, "the detector failed; the server's log says why") from error


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", responses={503: {"model": Health, "description": "Not now."}})
    async def healthz(response: Response) -> Health:
        """Whether the model is loaded and works."""
        response.status_code = 200 if service.state == "ok" else 503
        return Health(status=service.state)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counts and times in Prometheus's text format."""
        service.metrics.held.set(service.ledger.bytes)
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/model")
    async def model() -> Model:
        """What is served, and within which limits."""
        limits, classes = service.limits, service.class_names
        bounds = {"body_bytes": limits.body, "pixels": limits.pixels, "pictures": limits.pictures}
        scores = dict(zip(classes, (round(least, 5) for least in service.least.tolist()), strict=True))
        return Model(name=service.name, classes=list(classes), scores=scores, **bounds)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        headers = {"Content-Security-Policy": SELF_CONTAINED, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(PAGE.read_text("utf-8"), headers=headers)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    """Every error in the same form, of one line."""
    match error:
        case RefusedError():
            retry = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            return _problem(error.status, error.message, retry)
        case RequestValidationError():
            first = error.errors()[0]
            return _problem(422, f"{first['loc'][-1]}: {first['msg']}")
        case HTTPException(status_code=404):
            return _problem(404, "no such path; POST pictures to /detect, and /openapi.json tells the rest")
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, str(error.detail), error.headers)


def _problem(status: int, detail: str, headers: Any = None) -> JSONResponse:
    return JSONResponse(Problem(detail=" ".join(detail.split())).model_dump(), status, headers)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, list[Found]]) -> list[Found]:
    """What some work gives; it is dropped when the client hangs up, or when the caller is cancelled."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RefusedError(499, "the client hung up")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)  # what the request holds is given back after this


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
