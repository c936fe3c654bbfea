"""Pure. What `/system/functions` and its neighbours offer, for the description of the API."""

from __future__ import annotations

from typing import Final

from faasd_py.control.function_views import (
    DeleteFunctionRequest,
    FunctionStatus,
    GatewayInfo,
    ScaleServiceRequest,
)
from faasd_py.control.operation import NAMESPACE, Answer, Operation, Parameter, refusals
from faasd_py.core.deployment import FunctionDeployment

_NAME: Final = Parameter(name="name", about="`NAME` or `NAME.NAMESPACE`.")
_USAGE: Final = Parameter(name="usage", about="`1`: with the processor and the memory that it uses now.")
_EVERY: Final = Parameter(
    name="namespace", about="The namespace; the default one when it is left out, `*` for all of them."
)

OPERATIONS: Final = (
    Operation(
        method="GET", path="/system/functions", name="listFunctions", scope="read",
        about="The functions of a namespace, by name.", parameters=(_EVERY,),
        answers={200: Answer("The functions.", list[FunctionStatus]), **refusals(400)},
    ),
    Operation(
        method="POST", path="/system/functions", name="deployFunction", scope="admin",
        about="Deploy a function, or replace one that was deployed.", parameters=(NAMESPACE,),
        body=FunctionDeployment,
        answers={202: Answer("It is kept, and answers."), **refusals(400, 409, 500)},
    ),
    Operation(
        method="PUT", path="/system/functions", name="updateFunction", scope="admin",
        about="Replace a function that was deployed.", parameters=(NAMESPACE,),
        body=FunctionDeployment,
        answers={202: Answer("It is kept, and answers."), **refusals(400, 404, 409, 500)},
    ),
    Operation(
        method="DELETE", path="/system/functions", name="deleteFunction", scope="admin",
        about="Remove a function that was deployed.", parameters=(NAMESPACE,),
        body=DeleteFunctionRequest,
        answers={202: Answer("It is gone; its running calls finish."), **refusals(400, 404, 409, 500)},
    ),
    Operation(
        method="GET", path="/system/function/{name}", name="getFunction", scope="read",
        about="One function.", parameters=(_NAME, NAMESPACE, _USAGE),
        answers={200: Answer("The function.", FunctionStatus), **refusals(400, 404)},
    ),
    Operation(
        method="POST", path="/system/scale-function/{name}", name="scaleFunction", scope="admin",
        about="Ask for so many replicas of a function.", parameters=(_NAME, NAMESPACE),
        body=ScaleServiceRequest,
        answers={202: Answer("It is kept, and asked for."), **refusals(400, 404, 500)},
    ),
    Operation(
        method="GET", path="/system/info", name="getInfo", scope="read",
        about="What this daemon is, and its version.",
        answers={200: Answer("The daemon.", GatewayInfo)},
    ),
)  # fmt: skip
