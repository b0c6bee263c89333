"""ComfyUI runs prompts on one thread, which ends for good with an error that is none of a node's, such as a node that
calls sys.exit(). The prompt then seems to run for ever. Such an error becomes one of the prompt's."""

import logging
import traceback

import execution


def guard():
    execute = execution.PromptExecutor.execute

    def guarded(self, prompt, prompt_id, *arguments, **named):
        try:
            return execute(self, prompt, prompt_id, *arguments, **named)
        except BaseException as error:
            logging.exception("the prompt was given up")
            self.success = False
            self.history_result = {"outputs": {}, "meta": {}}
            self.add_message("execution_error", _about(error, prompt_id), broadcast=False)

    execution.PromptExecutor.execute = guarded


def _about(error, prompt_id):
    kind = type(error)
    return {
        "prompt_id": prompt_id,
        "node_id": None,
        "node_type": None,
        "executed": [],
        "exception_message": f"{kind.__name__}: {error}",
        "exception_type": kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}",
        "traceback": traceback.format_tb(error.__traceback__),
        "current_inputs": {},
        "current_outputs": [],
    }
