"""Cold starts: with route="predictions", a run has an id, so you can see it start and wait for it again."""

from __future__ import annotations

from rockai_transport import Client, PredictionTimeoutError, Update

MODEL = "meta/meta-llama-3-70b-instruct"


def show(update: Update) -> None:
    """Called whenever the prediction's status, logs or progress change."""
    print(f"status: {update.prediction.status}")


def main(seconds: float = 60.0) -> None:
    """Run a model that may be cold; a wait that times out does not end the prediction, so wait again."""
    with Client(route="predictions") as client:
        prediction = client.predictions.create(model=MODEL, input={"prompt": "Say: good morning"})
        try:
            while not prediction.is_terminal:
                try:
                    prediction = client.predictions.wait(prediction, timeout=seconds, on_update=show)
                except PredictionTimeoutError:
                    print(f"after {seconds:g} s it is not done; waiting for it again")
        except KeyboardInterrupt:
            client.predictions.cancel(prediction)  # otherwise it would start, run, and cost money
            raise
        print(prediction.text)


if __name__ == "__main__":
    main()
