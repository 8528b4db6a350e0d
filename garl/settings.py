"""The base of every configuration: frozen, typed, and clear about what is wrong with a value."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from garl.errors import GarlError


class Settings(BaseModel):
    """A frozen record of settings. A value that will not do raises GarlError, which names the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or cls.__name__
            if first["type"] == "extra_forbidden":
                raise GarlError(f"{field} is not a setting; those are {', '.join(cls.model_fields)}") from error
            problem = first["msg"].replace("Input should be", "must be")
            raise GarlError(f"{field} {problem}, not {first['input']!r}") from error
