"""What agents get over MCP: one JSON text and the images themselves; no path of this machine, no address to fetch."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.app.state.refusals import PATH


def answer_agents_in_json() -> None:
    """Replace how Gradio words a tool's answer: the text of a Python list, with paths of the server in it."""
    from gradio.mcp import GradioMCPServer

    take = GradioMCPServer.convert_strings_to_filedata

    def taken(self: Any, value: Any, positions: list[list[str | int]]) -> Any:
        try:
            return take(self, value, positions)
        except Exception:  # a path, or no base64: Gradio's sentence offers links, which are not fetched here
            raise ValueError(PATH) from None

    setattr(GradioMCPServer, "convert_strings_to_filedata", taken)  # noqa: B010 - mypy refuses to assign to a method
    setattr(GradioMCPServer, "pop_returned_state", staticmethod(_by_label))  # noqa: B010
    setattr(GradioMCPServer, "postprocess_output_data", _contents)  # noqa: B010
    setattr(GradioMCPServer, "_file_data_tool_description", "")  # noqa: B010 - it names a tool that is not here


def _by_label(components: Sequence[Any], data: list[Any]) -> Any:
    """The outputs by the labels of their fields, or the only one as it is. Without progress Gradio wraps several in a
    list of one."""
    if len(components) == 1:
        return data[0]
    values = data[0] if len(data) == 1 else data
    return {str(component.label): value for component, value in zip(components, values, strict=True)}


def _contents(self: Any, data: Any, root_url: str) -> list[Any]:
    """The JSON text of `data`, in which a file stands as its number among the images that follow the text."""
    images = []
    if isinstance(data, dict):
        for label, file in [(label, value) for label, value in data.items() if _is_file(value)]:
            kind = mimetypes.guess_type(file["path"])[0] or "application/octet-stream"
            content = base64.b64encode(Path(file["path"]).read_bytes()).decode()
            images.append(self.types.ImageContent(type="image", data=content, mimeType=kind))
            data = {**data, label: f"image {len(images)} of this answer"}
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return [self.types.TextContent(type="text", text=text), *images]


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and value.get("meta") == {"_type": "gradio.FileData"}
