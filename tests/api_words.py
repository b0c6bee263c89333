"""Words of the API, of its programs and of its hosts, which no page says to the people who look at it."""

import re

API_WORDS = re.compile(
    r"""
    "files" | '(files|prompt|timeout|headers)' | node_errors | class_type | prompt_outputs_failed | value_not_in_list
    | /api/v\d | /worker/v\d | \b(GET|POST|PATCH|HEAD|DELETE)\ / | Idempotency | Content-Length | \bURL\ of\b
    | must\ be\ (an?\ )?(text|string|object) | \bJSON\b | \bcursor\b | COMFYWARD_ | pip\ install | Traceback
    | comfyward\ (users|keys|tokens|worker) | /workers/ | /tmp/ | \bdigest\b | \bblake3\b | \binternal\b | \bNone\b
    """,
    re.VERBOSE,
)


def api_words_in(text: str) -> list[str]:
    """Those that a text holds."""
    return [found.group() for found in API_WORDS.finditer(text)]
