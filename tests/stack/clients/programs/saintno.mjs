// @saintno/comfyui-sdk against ComfyUI's own API: its wrapper runs a graph and returns where the picture is.
import { CallWrapper, ComfyApi, PromptBuilder } from "@saintno/comfyui-sdk";

const api = new ComfyApi(process.argv[2]).init();
await api.waitForReady();
const builder = new PromptBuilder(
  {
    1: { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: 3 } },
    2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "saintno" } },
  },
  [],
  ["picture"],
).setOutputNode("picture", "2");

const outcome = await new Promise((resolve) => {
  new CallWrapper(api, builder)
    .onFinished((data) => resolve({ pictures: data.picture.images.map((image) => api.getPathImage(image)) }))
    .onFailed((error) => resolve({ failed: String(error), cause: String(error.cause ?? "") }))
    .run();
});
const answer = outcome.pictures ? await fetch(outcome.pictures[0]) : null;
console.log(JSON.stringify({ ...outcome, type: answer?.headers.get("content-type") }));
process.exit(0);
