"""As ComfyUI's own example does it: a form Content-Type, the websocket until no node executes, then the history."""

import json
import sys
import urllib.parse
import urllib.request
import uuid

import websocket

server = sys.argv[1]
client_id, prompt_id = str(uuid.uuid4()), str(uuid.uuid4())
prompt = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 4}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "example"}},
}
socket = websocket.WebSocket()
socket.connect(f"ws://{server}/ws?clientId={client_id}")
body = json.dumps({"prompt": prompt, "client_id": client_id, "prompt_id": prompt_id}).encode()
urllib.request.urlopen(urllib.request.Request(f"http://{server}/prompt", data=body)).read()
while True:
    message = socket.recv()
    if isinstance(message, bytes):
        continue
    said = json.loads(message)
    if said["type"] == "executing" and said["data"]["node"] is None and said["data"]["prompt_id"] == prompt_id:
        break
history = json.load(urllib.request.urlopen(f"http://{server}/history/{prompt_id}"))[prompt_id]
[image] = history["outputs"]["2"]["images"]
data = urllib.request.urlopen(f"http://{server}/view?{urllib.parse.urlencode(image)}").read()
sys.stdout.write(json.dumps({"png": data[:4] == b"\x89PNG", "name": image["filename"]}) + "\n")
