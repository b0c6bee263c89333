// @comfyorg/sdk against Comfy API v2: an asset, a job that uses it, its events, its output as a file.
import { Comfy } from "@comfyorg/sdk";

const [picture, target] = process.argv.slice(2);
const client = new Comfy({ apiKey: process.env.COMFY_API_KEY });
const workflow = client.workflows.fromJson({
  1: { class_type: "LoadImage", inputs: { image: "placeholder.png" } },
  2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "typescript" } },
});
workflow.setInput("1", "image", client.assets.fromFile(picture));

const job = await client.submit(workflow);
const seen = [];
for await (const event of job.events()) seen.push(event.kind);
const done = await job.wait();
const [output] = done.getOutputs("2");
await output.toFile(target);
console.log(JSON.stringify({ status: done.status, name: output.name, seen }));
