// Saves the graph of ComfyUI's editor as a workflow, whether or not it can run, by the page around it.
import { ask } from "./channel.js";

const RETRYABLE = [0, 401, 408, 429]; // no response, logged out, too slow, too many requests

// The parts of a graph that users edit: not the editor's view, nor, before the first interaction, the sizes that nodes
// get when they are drawn.
function essence(graph, isTouched) {
  const nodes = graph.nodes.map((node) => [
    [node.id, node.type, node.pos, node.mode, node.title, node.color, node.bgcolor, node.shape, node.flags],
    [node.widgets_values, node.inputs?.map(({ label }) => label), node.outputs?.map(({ label }) => label)],
    isTouched && node.size,
  ]);
  return JSON.stringify([nodes, graph.links, graph.groups, graph.reroutes, graph.definitions]);
}

// The node with an id of the API's form: "7", or "3:7" inside a subgraph.
function nodeAt(graph, id) {
  const [first, ...rest] = String(id).split(":");
  const node = graph?.getNodeById(first);
  return rest.length ? nodeAt(node?.subgraph, rest.join(":")) : node;
}

// The API's form of the graph, or null if it cannot run. Nodes that are not installed only have the name of their type.
export async function runnable(app) {
  try {
    const { output } = await app.graphToPrompt();
    for (const [id, node] of Object.entries(output)) node.class_type ||= nodeAt(app.graph, id)?.type;
    return Object.keys(output).length ? output : null;
  } catch (error) {
    console.warn("The graph cannot be run yet, so only the editor's form of it is saved.", error);
    return null;
  }
}

// Saves one graph, one request at a time. Changes during a save are saved after it; a refused graph is not sent again
// until it changes.
export class Saver {
  #app;
  #known = null;
  #refused = null;
  #now = null;
  #isTouched = false;

  constructor(app) {
    this.#app = app;
  }

  get isSaved() {
    return this.#essence() === this.#known;
  }

  // Marks a graph as saved; null marks none.
  markSaved(graph) {
    this.#known = graph && this.#essence(graph);
  }

  // Called when the user interacts with the graph; from then on sizes count as changes.
  touch() {
    if (this.#isTouched) return;
    const wasSaved = this.isSaved;
    this.#isTouched = true;
    if (wasSaved) this.markSaved(this.#app.graph.serialize());
  }

  // Resolves once the current graph is saved, to true if there were changes.
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
    if (this.#app.graph.id !== workflow.id) return; // another tab was opened meanwhile: the two forms are of different graphs
    try {
      await this.#send(workflow, prompt);
    } catch (error) {
      this.#refused = RETRYABLE.includes(error.status) || error.status >= 500 ? null : { text, error };
      throw error;
    }
    this.#known = text;
  }

  async #send(workflow, prompt) {
    try {
      await ask("save", { workflow, prompt });
    } catch (refusal) {
      if (refusal.status !== 400 || !prompt) throw refusal;
      await ask("save", { workflow, prompt: null });
    }
  }
}
