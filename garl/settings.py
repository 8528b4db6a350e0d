"""The base of every configuration: frozen, typed, and clear about what is wrong with a value."""

from __future__ import annotations

import reprlib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from garl.errors import GarlError

LARGEST = 2**53
"""Whole numbers are below this, so that they fit wherever they go: into a float, an int64, a seed."""


class Settings(BaseModel):
    """A frozen record of settings. A value that will not do raises GarlError, which names the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            settings = handler(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or cls.__name__
            if first["type"] == "extra_forbidden":
                raise GarlError(f"{field} is not a setting; those are {', '.join(cls.model_fields)}") from error
            problem = first["msg"].replace("Input should be", "must be")
            raise GarlError(f"{field} {problem}, not {reprlib.repr(first['input'])}") from error
        for name, value in settings:
            if isinstance(value, int) and abs(value) >= LARGEST:
                raise GarlError(f"{name} must be below {LARGEST:,}, not a number of {value.bit_length()} bits")
        return settings

    def changed(self, settings: dict[str, Any]) -> Self:
        """These settings with some replaced, named as on the command line: {"ppo.epochs": 2}; checked anew."""
        values = self.model_dump()
        for name, value in settings.items():
            *sections, field = name.split(".")
            section = values
            for key in sections:
                section = section[key]
            section[field] = value
        return type(self)(**values)
