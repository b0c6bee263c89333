import { app } from "../../scripts/app.js";

app.registerExtension({
  name: "test.paint",
  nodeCreated(node) {
    if (node.comfyClass !== "TestPaint") return;
    const colour = node.widgets.find(({ name }) => name === "colour");
    node.addWidget("button", "Paint it red", null, () => (colour.value = 0xff0000));
  },
});
