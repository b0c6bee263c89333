// Keeps the graph of ComfyUI's editor saved as a workflow: what somebody made is saved whatever can be run of it.
"use strict";

const MAY_PASS = [0, 401, 408, 429]; // the same may be taken later: no answer, logged out, too slow, too many

// What somebody made of a graph: without where the editor looks, and, as long as nobody touched it, without the sizes
// that nodes get when they are drawn.
function essence(graph, isTouched) {
  const nodes = graph.nodes.map((node) => [
    [node.id, node.type, node.pos, node.mode, node.title, node.color, node.bgcolor, node.shape, node.flags],
    [node.widgets_values, node.inputs?.map(({ label }) => label), node.outputs?.map(({ label }) => label)],
    isTouched && node.size,
  ]);
  return JSON.stringify([nodes, graph.links, graph.groups, graph.reroutes, graph.definitions]);
}

// The node behind an id of the API's form: "7", or "3:7" for what lies inside a subgraph.
function nodeAt(graph, id) {
  const [first, ...rest] = String(id).split(":");
  const node = graph?.getNodeById(first);
  return rest.length ? nodeAt(node?.subgraph, rest.join(":")) : node;
}

// The API's form of the graph, or null where there is none. A node that is not installed has only the name of its type.
async function runnable(app) {
  try {
    const { output } = await app.graphToPrompt();
    for (const [id, node] of Object.entries(output)) node.class_type ||= nodeAt(app.graph, id)?.type;
    return Object.keys(output).length ? output : null;
  } catch (error) {
    console.warn("The graph cannot be run yet, so only the editor's form of it is saved.", error);
    return null;
  }
}

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function patch(workflow, body) {
  const answer = await fetch(`/api/v1/workflows/${workflow}`, {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }).catch(() => {
    throw new Refusal(0, "the server does not answer. Trying again…");
  });
  if (answer.status === 401) throw new Refusal(401, "you are logged out. Log in in another tab, and it is saved.");
  if (!answer.ok) throw new Refusal(answer.status, (await answer.json().catch(() => ({}))).message ?? "the server had a fault. Trying again…");
  return answer.json();
}

// Saves one graph, one save at a time. What changes while it saves is saved after it; what was refused is not sent again
// until it has changed.
class Saver {
  #app;
  #workflow;
  #known = null;
  #refused = null;
  #now = null;
  #isTouched = false;

  constructor(app, workflow) {
    this.#app = app;
    this.#workflow = workflow;
  }

  get isSaved() {
    return this.#essence() === this.#known;
  }

  // Takes a graph for saved, or none.
  consider(graph) {
    this.#known = graph && this.#essence(graph);
  }

  // From now on somebody works on the graph: sizes are theirs.
  touch() {
    if (this.#isTouched) return;
    const wasSaved = this.isSaved;
    this.#isTouched = true;
    if (wasSaved) this.consider(this.#app.graph.serialize());
  }

  // Resolves once the graph as it is now is saved; whether there was anything to save.
  async save() {
    while (this.#now) await this.#now.catch(() => {});
    if (this.isSaved) return false;
    if (this.#refused?.text === this.#essence()) throw this.#refused.error;
    this.#now = this.#write().finally(() => (this.#now = null));
    await this.#now;
    return true;
  }

  #essence(graph = this.#app.graph.serialize()) {
    return essence(graph, this.#isTouched);
  }

  async #write() {
    const workflow = this.#app.graph.serialize();
    const text = this.#essence(workflow);
    const prompt = await runnable(this.#app);
    if (this.#app.graph.id !== workflow.id) return; // another tab was opened meanwhile: the two are not of one graph
    try {
      await this.#send(workflow, prompt);
    } catch (error) {
      this.#refused = MAY_PASS.includes(error.status) || error.status >= 500 ? null : { text, error };
      throw error;
    }
    this.#known = text;
  }

  async #send(workflow, prompt) {
    try {
      await patch(this.#workflow, { workflow, prompt });
    } catch (refusal) {
      if (refusal.status !== 400 || !prompt) throw refusal;
      await patch(this.#workflow, { workflow, prompt: null });
    }
  }
}
