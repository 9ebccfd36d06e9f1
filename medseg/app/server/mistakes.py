"""What is wrong with a request, in a sentence and with a status of 400: Gradio answers 500, null, or a list."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from gradio import Error, queueing, route_utils, routes, utils
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from medseg.app.state.refusals import is_mistake, sentence_of

TOO_FEW = "The endpoint wants all of its arguments, in their order: /gradio_api/info lists them with their defaults."
OTHER_NAMES = "The endpoint wants its arguments by their names: /gradio_api/info lists them with their defaults."
NO_EVENT = "There is no event of that number here: call an endpoint by its name."
BODY = (
    'The body wants JSON: {"data": [...]} with the endpoint\'s arguments, which /gradio_api/info lists, and numbers '
    "that are finite."
)


def name_mistakes() -> None:
    """Answer each error of an event with its sentence, and each mistake of a visitor with a status of 400."""
    original = utils.error_payload

    def payload(error: BaseException | None, show_error: bool) -> Any:
        is_few = "didn't receive enough input values" in str(error)
        cause = error.__cause__ if isinstance(error, Error) else error
        if error is not None and not isinstance(error, Error):
            error = Error(TOO_FEW if is_few else sentence_of(error), print_exception=False)
        content = _Content(original(error, show_error))
        content.status = 400 if cause is None or is_few or is_mistake(cause) else 500
        return content

    for module in (utils, queueing):
        setattr(module, "error_payload", payload)  # noqa: B010 - mypy refuses to assign to a function
    setattr(routes, "JSONResponse", _answer)  # noqa: B010
    route_utils.get_fn = _refusing(route_utils.get_fn, NO_EVENT, KeyError)
    client_utils = getattr(routes, "client_utils")  # noqa: B009
    by_name = _refusing(client_utils.construct_args, OTHER_NAMES, TypeError)
    setattr(routes, "client_utils", SimpleNamespace(**{**vars(client_utils), "construct_args": by_name}))  # noqa: B010


async def refuse_body(_: Request, __: Exception) -> JSONResponse:
    """For a body that is not what its route wants; FastAPI's own answer repeats it, which JSON cannot where it holds
    NaN, Infinity or half a character."""
    return JSONResponse({"detail": BODY}, 400)


class _Content(dict[str, Any]):
    """An answer to a failed event, and its `status`."""

    status = 500


def _answer(content: Any, status_code: int = 200) -> JSONResponse:
    if isinstance(content, _Content):  # a sentence may repeat half a character, which no answer can hold
        readable = str(content["error"]).encode(errors="replace").decode()
        return JSONResponse({**content, "error": readable}, content.status)
    return JSONResponse(content, status_code)


def _refusing(original: Callable[..., Any], sentence: str, kind: type[Exception]) -> Callable[..., Any]:
    """`original`, whose errors of that `kind` are a refusal with that `sentence`."""

    @functools.wraps(original)
    def refuse(*arguments: Any, **named: Any) -> Any:
        try:
            return original(*arguments, **named)
        except kind:
            raise HTTPException(400, sentence) from None

    return refuse
