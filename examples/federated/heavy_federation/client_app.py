"""The client."""

from heavy_federation.task import data, task
from heavytail.federated import apps

app = apps.client_app(task, data)
