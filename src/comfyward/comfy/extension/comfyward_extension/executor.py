"""Turns an error outside of a node's code into an error of the prompt.

ComfyUI runs all prompts on one thread. An error that it does not expect, such as the SystemExit of a node that calls
sys.exit(), ends that thread, and the prompt would seem to run for ever.
"""

import logging
import traceback

import execution


def guard():
    execute = execution.PromptExecutor.execute

    def guarded(self, prompt, prompt_id, *arguments, **named):
        try:
            return execute(self, prompt, prompt_id, *arguments, **named)
        except BaseException as error:
            logging.exception("the prompt failed outside of a node")
            self.success = False
            self.history_result = {"outputs": {}, "meta": {}}
            self.add_message("execution_error", _described(error, prompt_id), broadcast=False)

    execution.PromptExecutor.execute = guarded


def _described(error, prompt_id):
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
