import { app } from "../../scripts/app.js";
import { label } from "../../extends/config.js";

app.registerExtension({
  name: "test.dial",
  nodeCreated(node) {
    if (node.comfyClass === "TestDial") node.addWidget("text", "dial", label, () => {});
  },
});
