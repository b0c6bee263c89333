"""Programs that submit one run, for each way to call the API. Pure.

Inputs that change from run to run are variables at the top; secrets are read from the environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from comfyward.workflows.graph import told_apart

Language = Literal["bash", "javascript", "python"]


@dataclass(frozen=True)
class Variable:
    """A value that a program refers to by name; `secret` ones come from the environment."""

    name: str
    secret: bool = False


@dataclass(frozen=True)
class Recipe:
    """The submission of a run: `prompt` and `files` contain Variables where values change."""

    base_url: str
    workflow_id: str
    prompt: Mapping[str, Any]
    variables: Mapping[str, Any] = field(default_factory=dict)  # current values by name
    files: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)  # digests of the files that are on the server, by path
    accelerator: str | None = None
    webhook: str | None = None

    def body(self) -> dict[str, Any]:
        """The body of the request."""
        optional = {"files": self.files, "accelerator": self.accelerator, "webhook": self.webhook}
        return {"prompt": self.prompt, **{name: value for name, value in optional.items() if value}}


@dataclass(frozen=True)
class Snippet:
    """A program. `needs` is what has to be installed."""

    id: str
    title: str
    language: Language
    needs: str
    text: str


def snippets(recipe: Recipe) -> list[Snippet]:
    """The same submission in every language."""
    return [
        Snippet("curl", "curl", "bash", "curl", _curl(recipe)),
        Snippet("javascript", "JavaScript", "javascript", "Node.js 18 or newer, as an ES module", _javascript(recipe)),
        Snippet("requests", "Python: requests", "python", "pip install requests", _requests(recipe)),
        Snippet("client", "Python: comfyward", "python", "pip install comfyward", _client(recipe)),
        Snippet("sdk", "Python: comfy-sdk", "python", "pip install comfy-sdk", _sdk(recipe)),
    ]


def variable_names(inputs: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """A variable name, valid in every language, for each (key, input name, node's name); the node's name is added where
    two inputs share a name.

    >>> variable_names([("3.seed", "seed", "KSampler"), ("6.text", "text", "Positive"), ("7.text", "text", "Negative")])
    {'3.seed': 'seed', '6.text': 'text_positive', '7.text': 'text_negative'}
    """
    plain = [_word(name) or "value" for _, name, _ in inputs]
    names = []
    for (key, _, node), name in zip(inputs, plain, strict=True):
        of_node = _word(node).lower() or _word(key.rpartition(".")[0])
        unique = f"{name}_{of_node}" if plain.count(name) > 1 or name in _RESERVED else name
        names.append(unique if not unique[0].isdigit() else f"value_{unique}")
    apart = (name.replace(" ", "_") for name in told_apart(names))
    return {key: name for (key, _, _), name in zip(inputs, apart, strict=True)}


def _word(text: str) -> str:
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")


_RESERVED = (
    "prompt",
    "url",
    "key",
    "headers",
    "run",
    "body",
    "class",
    "import",
    "from",
    "in",
    "is",
    "lambda",
    "response",
)


def literal(value: Any, names: Callable[[Variable], str], python: bool = False, indent: int = 0) -> str:
    """A value as JavaScript (that is, JSON) or Python, with variables by name and lists on one line."""
    match value:
        case Variable():
            return names(value)
        case None | bool() if python:
            return repr(value)
        case dict() if value:
            pad = "  " * (indent + 1) if not python else "    " * (indent + 1)
            inner = [
                f"{json.dumps(str(k), ensure_ascii=False)}: {literal(v, names, python, indent + 1)}"
                for k, v in value.items()
            ]
            closing = pad[: len(pad) * indent // (indent + 1)]
            return "{\n" + "".join(f"{pad}{line},\n" for line in inner)[:-2] + f"\n{closing}}}"
        case list():
            return "[" + ", ".join(literal(each, names, python, indent) for each in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _curl(recipe: Recipe) -> str:
    """Variables contain JSON, which the shell expands in a here-document."""
    names: dict[Variable, str] = {}

    def name(variable: Variable) -> str:
        return names.setdefault(variable, f"\0{variable.name.upper()}\0")

    body = literal(recipe.body(), name)
    body = re.sub(r"([\\$`])", r"\\\1", body)
    for variable, mark in names.items():
        shown = f"${{{variable.name.upper()}}}"
        body = body.replace(mark, f'"{shown}"' if variable.secret else shown)
    values = "".join(
        f"{name.upper()}={_shell_quote(json.dumps(value, ensure_ascii=False))}\n"
        for name, value in recipe.variables.items()
    )
    url = f"{recipe.base_url}/api/v1/workflows/{recipe.workflow_id}/runs"
    return (
        (f"{values}\n" if values else "")
        + f"""RUN_ID=$(curl -sS --fail-with-body {url} \\
  -H "Authorization: Bearer $COMFYWARD_API_KEY" -H "Content-Type: application/json" \\
  -d @- <<JSON | sed 's/.*"id":"\\([^"]*\\)".*/\\1/'
{body}
JSON
)
# Waits up to 60 seconds; call it again until the status is COMPLETED or ERROR.
curl -sS --fail-with-body "{url}/$RUN_ID?wait=60" \\
  -H "Authorization: Bearer $COMFYWARD_API_KEY"
"""
    )


def _javascript(recipe: Recipe) -> str:
    def name(variable: Variable) -> str:
        return f"process.env.{variable.name.upper()}" if variable.secret else _camel(variable.name)

    values = "".join(f"const {_camel(n)} = {literal(v, name)};\n" for n, v in recipe.variables.items())
    return f"""{values}const url = "{recipe.base_url}/api/v1/workflows/{recipe.workflow_id}/runs";
const headers = {{
  "Authorization": `Bearer ${{process.env.COMFYWARD_API_KEY}}`,
  "Content-Type": "application/json",
}};
const body = {literal(recipe.body(), name)};

async function call(address, options) {{
  const response = await fetch(address, {{ headers, ...options }});
  const data = await response.json();
  if (!response.ok) throw new Error(`${{data.message}} ${{data.hint ?? ""}}`);
  return data;
}}

let run = await call(url, {{ method: "POST", body: JSON.stringify(body) }});
do {{
  run = await call(`${{url}}/${{run.id}}?wait=60`);
}} while (!["COMPLETED", "ERROR", "INSUFFICIENT_CREDIT"].includes(run.status));

if (run.status !== "COMPLETED") throw new Error(run.error.message);
console.log(run.output.map((file) => file.url).join("\\n"));
"""


def _requests(recipe: Recipe) -> str:
    return f"""import os

import requests

{_python_values(recipe)}url = "{recipe.base_url}/api/v1/workflows/{recipe.workflow_id}/runs"
headers = {{"Authorization": f"Bearer {{os.environ['COMFYWARD_API_KEY']}}"}}
body = {literal(recipe.body(), _python_name, python=True)}

response = requests.post(url, json=body, headers=headers, timeout=60)
response.raise_for_status()
run = response.json()
while run.get("status") not in ("COMPLETED", "ERROR", "INSUFFICIENT_CREDIT"):
    response = requests.get(f"{{url}}/{{run['id']}}", params={{"wait": 60}}, headers=headers, timeout=90)
    response.raise_for_status()
    run = response.json()

if run["status"] != "COMPLETED":
    raise SystemExit(run["error"]["message"])
for file in run["output"]:
    print(file["url"])
"""


def _client(recipe: Recipe) -> str:
    more = "".join(
        f",\n        {name}={literal(value, _python_name, python=True, indent=2)}"
        for name, value in recipe.body().items()
        if name != "prompt"
    )
    return f"""import os
from pathlib import Path

from comfyward.client import Client

{_python_values(recipe)}prompt = {literal(recipe.prompt, _python_name, python=True)}

with Client("{recipe.base_url}", os.environ["COMFYWARD_API_KEY"]) as comfyward:
    run = comfyward.run(
        prompt,
        workflow="{recipe.workflow_id}"{more},
    )
    print(run.status)
    for path in comfyward.download(run, Path("outputs")):
        print(path)
"""


def _sdk(recipe: Recipe) -> str:
    """Comfy API v2 has no field for files or an accelerator, and its runs belong to the default workflow. Graphs find
    files that an earlier run downloaded by name, and stored files once they belong to the account."""
    note = "# Files that an earlier run downloaded are found by name.\n" if recipe.files else ""
    naming, imports = "", ""
    if recipe.stored:
        imports = "import json\n"
        naming = f"""
# Add the run's own files to your account, so that graphs find them by name.
headers = {{"Authorization": f"Bearer {{os.environ['COMFYWARD_API_KEY']}}", "Content-Type": "application/json"}}
for path, digest in {literal(dict(recipe.stored), _python_name, python=True)}.items():
    named = json.dumps({{"path": path, "digest": digest}}).encode()
    urlopen(Request("{recipe.base_url}/api/v1/files", named, headers)).close()
"""
    return f"""{imports}import os
from pathlib import Path
{"from urllib.request import Request, urlopen" if recipe.stored else ""}
from comfy_sdk import Comfy

{_python_values(recipe)}os.environ["COMFY_BASE_URL"] = "{recipe.base_url}"
{note}prompt = {literal(recipe.prompt, _python_name, python=True)}
{naming}
Path("outputs").mkdir(exist_ok=True)
with Comfy(api_key=os.environ["COMFYWARD_API_KEY"]) as comfy:
    job = comfy.run(comfy.workflows.from_json(prompt))
    print(job.status)
    for output in job.outputs:
        print(output.to_file(Path("outputs") / Path(output.name).name))
"""


def _python_values(recipe: Recipe) -> str:
    values = (f"{n} = {literal(v, _python_name, python=True)}\n" for n, v in recipe.variables.items())
    return "".join(values) + ("\n" if recipe.variables else "")


def _python_name(variable: Variable) -> str:
    return f'os.environ["{variable.name.upper()}"]' if variable.secret else variable.name


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _shell_quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
