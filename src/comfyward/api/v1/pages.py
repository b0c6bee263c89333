"""Lists of v1 page by page: `limit` and `cursor` of the request, `X-Next-Cursor` of the answer."""

from __future__ import annotations

from pydantic import BaseModel, Field

from comfyward.api.paging import InvalidCursor, moment_of, next_cursor
from comfyward.errors import InvalidRequest
from comfyward.runs.run import Run
from comfyward.store.lists import Listed
from comfyward.workflows.workflow import Workflow

MAX_LISTED = 300  # as many as ComfyICU lists
NEXT_CURSOR = "X-Next-Cursor"
PAGED = {NEXT_CURSOR: "The `cursor` of the next page, which may be shorter than `limit`. Absent on the last one."}


class PageQuery(BaseModel):
    limit: int = Field(MAX_LISTED, ge=1, le=1000)
    cursor: str | None = Field(None, description=f"The {NEXT_CURSOR} header of the page before.")

    def before(self) -> tuple[int, str] | None:
        """The place in the list after which this page begins. Raises InvalidRequest."""
        try:
            return None if self.cursor is None else moment_of(self.cursor)
        except InvalidCursor as error:
            raise InvalidRequest("Invalid cursor.", hint=f"Use the {NEXT_CURSOR} header of a list.") from error

    def headers(self, found: Listed[Run] | Listed[Workflow]) -> dict[str, str]:
        """The cursor of the next page, where there are more items than this page holds."""
        cursor = next_cursor(found.rows, self.limit, is_cut=found.is_cut)
        return {} if cursor is None else {NEXT_CURSOR: cursor}
