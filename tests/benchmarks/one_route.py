"""The least a service can be: one route. What a start costs beyond it is the service's."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def say_hello() -> str:
    """Answer that it is up."""
    return "up"
