// @stable-canvas/comfyui-client against ComfyUI's own API, by websocket and by polling.
import { Client } from "@stable-canvas/comfyui-client";
import WebSocket from "ws";

const client = new Client({ api_host: process.argv[2], WebSocket, fetch });
const prompt = (color) => ({
  1: { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color } },
  2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "canvas" } },
});

await client.getSystemStats();
client.connect();
const heard = await client.enqueue(prompt(1), {});
const polled = await client.enqueue_polling(prompt(2), {});
console.log(JSON.stringify({ heard: heard.images.length, polled: polled.images.length }));
client.close();
process.exit(0);
